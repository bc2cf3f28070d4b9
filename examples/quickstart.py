"""The main job: boot a microVM, copy a file into it, run a command, and delete it at the end of the `with`.

Where this host boots no microVMs, it says why, and really does the same job in namespaces of this host. Each engine call
is printed on stderr, once it has ended.
"""

import sys
import tempfile
from pathlib import Path

from smolkit import Call, Smolvm, errors
from smolkit.testing import FakeSmolvm, NamespaceEngine


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


def stand_in() -> None:
    """Do the job without a microVM: in namespaces of this host, or where it forbids them, with answers from memory."""
    if why := NamespaceEngine.unavailable():
        print(f"The same calls against the in-memory fake (nor are there namespaces: {why.splitlines()[-1]}):")
        fake = FakeSmolvm()
        fake.on("sh", lambda call: f"{call.env['GREETING']} from Linux 6.0.0-fake\n")
        job(Smolvm(runner=fake, on_call=show))
        return
    print("The same job in namespaces of this host, which isolate nothing (smolkit.testing.NamespaceEngine):")
    with NamespaceEngine() as engine:
        job(Smolvm(engine.program, on_call=show))


if __name__ == "__main__":
    try:
        job(Smolvm(on_call=show))
    except (errors.EngineNotFoundError, errors.StartError) as error:
        print(f"No microVM here: {str(error).splitlines()[0]}. `smolkit doctor` tells more.\n")
        stand_in()
