"""The main job: a microVM for as long as a `with` lasts, a file into it, a command in it.

Where this host boots no microVMs it says why, and shows the same calls against the in-memory fake.
"""

import tempfile
from pathlib import Path

from smolkit import Smolvm, errors
from smolkit.testing import FakeSmolvm


def job(client: Smolvm) -> None:
    """Runs a shell script in a machine of its own."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "job.sh")
        script.write_text('echo "$GREETING from $(uname -sr)"\n')

        with client.machine("agent", cpus=1, memory=512) as m:  # create and start; at the end stop and delete
            m.cp(script, m.path("/root/job.sh"))
            result = m.exec(["sh", "/root/job.sh"], env={"GREETING": "hi"}, timeout=30)
            print(result.returncode, result.stdout, end="")


def pretend() -> Smolvm:
    """A client of an engine in memory, whose `sh` says what a real one would."""
    fake = FakeSmolvm()
    fake.on("sh", lambda call: f"{call.env['GREETING']} from Linux 6.0.0-fake\n")
    return Smolvm(runner=fake)


if __name__ == "__main__":
    try:
        job(Smolvm())
    except (errors.EngineNotFoundError, errors.StartError) as error:
        print(f"No microVM here: {error}\n\nThe same calls against the in-memory fake (no machine is booted):")
        job(pretend())
