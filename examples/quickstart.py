"""The main job: boot a microVM, copy a file into it, run a command, and delete it at the end of the `with`.

Where this host boots no microVMs, it says why and makes the same calls against the in-memory fake. Each engine call is
printed on stderr, once it has ended.
"""

import sys
import tempfile
from pathlib import Path

from smolkit import Call, Smolvm, errors
from smolkit.testing import FakeSmolvm


def job(client: Smolvm) -> None:
    """Run a shell script in a machine of its own."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "job.sh")
        script.write_text('echo "$GREETING from $(uname -sr)"\n')

        with client.machine("agent", cpus=1, memory=512) as m:  # create and start; at the end stop and delete
            m.cp(script, m.path("/root/job.sh"))
            result = m.exec(["sh", "/root/job.sh"], env={"GREETING": "hi"}, timeout=30)
            print(result.returncode, result.stdout, end="")


def show(call: Call) -> None:
    """Print an engine call."""
    print(f"+ smolvm {call.verb}", file=sys.stderr)


def pretend() -> Smolvm:
    """Return a client of an in-memory engine whose guest answers as a real one would."""
    fake = FakeSmolvm()
    fake.on("sh", lambda call: f"{call.env['GREETING']} from Linux 6.0.0-fake\n")
    return Smolvm(runner=fake, on_call=show)


if __name__ == "__main__":
    try:
        job(Smolvm(on_call=show))
    except (errors.EngineNotFoundError, errors.StartError) as error:
        print(f"No microVM here: {error}\n\nThe same calls against the in-memory fake (no machine is booted):")
        job(pretend())
