"""`machine exec --detach`, `machine exec --tty` and `machine shell`."""

from __future__ import annotations

import re

from attrs import field, frozen

from smolkit import values
from smolkit.commands.base import SHELL, GuestCommand
from smolkit.commands.converters import machine_name
from smolkit.commands.dialect import Dialect
from smolkit.commands.exec import ExecCommand
from smolkit.commands.failures import verdict
from smolkit.errors import SmolvmError, UnknownEngineError


@frozen
class Spawn(ExecCommand[int]):
    """`machine exec --detach`: starts a program and leaves it running. The answer is its PID in the VM.

    In an image machine that is the PID outside of its container (1.32.2), which programs inside cannot use.
    """

    def mode(self, dialect: Dialect) -> tuple[str, ...]:
        return ("-d",)

    def failure(self, completed: values.Completed) -> SmolvmError | None:
        return verdict(completed)  # the status is the engine's: the program has only begun

    def answer(self, completed: values.Completed) -> int:
        words = completed.stdout.split()
        if not words or not re.fullmatch(rb"[0-9]{1,10}", words[-1]):
            raise UnknownEngineError("the engine gave no PID of the process that it started", completed)
        return int(words[-1])


@frozen
class Terminal(ExecCommand[int]):
    """`machine exec -i -t`: a program in the foreground of a terminal. The answer is its exit status.

    The guest's stdout and stderr are both the terminal: what comes on the engine's stderr is the engine's.
    """

    def mode(self, dialect: Dialect) -> tuple[str, ...]:
        return ("-i", "-t")

    def answer(self, completed: values.Completed) -> int:
        return completed.returncode


@frozen
class Shell(GuestCommand[int]):
    """`machine shell`: the guest's shell in the foreground of a terminal. The answer is its exit status."""

    name: str = field(converter=machine_name)

    @property
    def guest(self) -> tuple[str, ...]:
        return SHELL

    def argv(self, dialect: Dialect) -> tuple[str, ...]:
        return dialect.argv("machine shell", *dialect.name("shell", self.name))

    def answer(self, completed: values.Completed) -> int:
        return completed.returncode
