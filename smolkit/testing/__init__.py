"""Test doubles for programs that use smolkit: no engine, no process, the real argv and the real error mapping.

`FakeRunner` answers from a script, one call at a time:

    fake = FakeRunner()
    fake.answer(Create("agent"))
    fake.answer(["machine", "exec"], stdout="6.12.0\\n")
    assert Smolvm(runner=fake).machine("agent").exec(["uname", "-r"]).stdout == "6.12.0\\n"

`FakeSmolvm` has machines, files and time of its own, and answers as the engine would:

    fake = FakeSmolvm()
    fake.on("uname", "6.12.0\\n")
    with Smolvm(runner=fake).machine("agent") as m:
        assert m.exec(["uname", "-r"]).stdout == "6.12.0\\n"
    assert not fake.machines
"""

from smolkit.testing.cassette import Recorder, Replayer
from smolkit.testing.fake import FakeSmolvm
from smolkit.testing.guest import FakeMachine, GuestCall, GuestResult
from smolkit.testing.pretend import PretendEngine
from smolkit.testing.scripted import FakeRunner, UnexpectedCommandError, UnusedAnswerError

__all__ = [
    "FakeMachine",
    "FakeRunner",
    "FakeSmolvm",
    "GuestCall",
    "GuestResult",
    "PretendEngine",
    "Recorder",
    "Replayer",
    "UnexpectedCommandError",
    "UnusedAnswerError",
]
