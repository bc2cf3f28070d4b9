"""`machine exec --detach`, `machine exec --tty`, `machine shell`, and the scripts that find and kill what was detached."""

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
from smolkit.values.shown import SCRIPT_TITLE

MARK = "SMOLKIT_SPAWN"  # the variable that identifies a spawned command, and all that it starts
# The searching shell has the value under another name, so that it does not find itself. grep's exit status is ignored:
# it also fails for processes that ended meanwhile.
FIND = f"""{SCRIPT_TITLE}find a spawned command
command -v grep >/dev/null || exit 127
grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ; exit 0"""
# KILL is repeated for processes that are being forked meanwhile; any other signal is sent once.
KILL = f"""{SCRIPT_TITLE}kill a spawned command
command -v grep >/dev/null || exit 127
for round in 1 2 3 4 5 6 7 8 9 10; do
    found=$(grep -ls "{MARK}=$SMOLKIT_MARK" /proc/[0-9]*/environ)
    [ -n "$found" ] || exit 0
    for file in $found; do pid=${{file#/proc/}}; kill -"$SMOLKIT_SIGNAL" "${{pid%/environ}}" 2>/dev/null; done
    [ "$SMOLKIT_SIGNAL" = KILL ] || exit 0
    [ "$round" -lt 5 ] || sleep 1  # what was killed takes its time to go, where there is much to do
done
exit 1"""


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


def find_spawned(mark: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command that prints a path in /proc for each process with this mark, and its environment."""
    return ("sh", "-c", FIND), {"SMOLKIT_MARK": mark}


def kill_spawned(mark: str, signal: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command that sends a signal (`TERM`) to each process with this mark, and its environment."""
    return ("sh", "-c", KILL), {"SMOLKIT_MARK": mark, "SMOLKIT_SIGNAL": signal}
