"""Test doubles for programs that use smolkit. They run the real command lines and error mapping, without an engine.

`FakeRunner` answers each call from a script:

    fake = FakeRunner()
    fake.answer(Create("agent"))
    fake.answer(["machine", "exec"], stdout="6.12.0\\n")
    assert Smolvm(runner=fake).machine("agent").exec(["uname", "-r"]).stdout == "6.12.0\\n"

`FakeSmolvm` is an in-memory engine with machines, files and a clock of its own:

    fake = FakeSmolvm()
    fake.on("uname", "6.12.0\\n")
    with Smolvm(runner=fake).machine("agent") as m:
        assert m.exec(["uname", "-r"]).stdout == "6.12.0\\n"
    assert not fake.machines

`NamespaceEngine` is a program that stands in for the engine and really runs commands, on a host without KVM:

    with NamespaceEngine() as engine, Smolvm(engine.program).machine("agent") as m:
        assert m.sh("echo $((6 * 7))").stdout == "42\\n"

`Recorder` and `Replayer` record real calls in a file and replay them.
"""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.testing.cassette import Recorder, Replayer
    from smolkit.testing.fake import FakeSmolvm
    from smolkit.testing.guest import FakeMachine, GuestCall, GuestResult
    from smolkit.testing.namespace.namespace_engine import NamespaceEngine
    from smolkit.testing.scripted import FakeRunner, UnexpectedCommandError, UnusedAnswerError

__all__ = [
    "FakeMachine",
    "FakeRunner",
    "FakeSmolvm",
    "GuestCall",
    "GuestResult",
    "NamespaceEngine",
    "Recorder",
    "Replayer",
    "UnexpectedCommandError",
    "UnusedAnswerError",
]

# The module of each name, imported at its first use: few programs need all of them.
_MODULES = {
    "FakeMachine": "guest",
    "FakeRunner": "scripted",
    "FakeSmolvm": "fake",
    "GuestCall": "guest",
    "GuestResult": "guest",
    "NamespaceEngine": "namespace.namespace_engine",
    "Recorder": "cassette",
    "Replayer": "cassette",
    "UnexpectedCommandError": "scripted",
    "UnusedAnswerError": "scripted",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES)
