"""Links: ways to run a command on another host with its stdin and stdout at this one."""

from __future__ import annotations

import os
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

from attrs import field, frozen

from smolkit.runners.local.launcher import REMOTE_SHELLS
from smolkit.runners.remote.payload import COMMAND
from smolkit.runners.remote.transport import ProgramTransport, Transport
from smolkit.values import validate

READY = b"smolkit-forward-stands"  # what the program of a forward writes to its stdout


class Link(ABC):
    """A way to run a command on another host."""

    @property
    @abstractmethod
    def host(self) -> str:
        """The host, for people to read; links with equal hosts lead to the same one."""

    @abstractmethod
    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        """The arguments of a process here that runs `command` there."""

    def open(self) -> Transport:
        """A new way to a far process on that host."""
        return ProgramTransport(self.host, self.argv(COMMAND))

    def forward(self, port: int, to: int) -> tuple[str, ...] | None:
        """The arguments of a process that forwards a port of this host to one of the other; None if the link cannot.

        It writes READY to its stdout once the forward stands, and ends with its stdin.
        """
        del port, to
        return None


def _words(value: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    first, *rest = validate.words("argv", value)
    found = (validate.program("argv", first), *rest)
    # The program only: a pod or container behind it may be called ssh.
    if (name := os.path.basename(found[0])) in REMOTE_SHELLS:
        raise ValueError(f"argv must not begin with {name}, which hands all arguments to a shell: use SshRunner(HOST)")
    return found


@final
@frozen
class StdioLink(Link):
    """Any program that runs the command behind its arguments, with its own stdin and stdout and without a terminal.

    `StdioLink(["kubectl", "exec", "-i", "pod", "--"])`, `StdioLink(["docker", "exec", "-i", "box"])`. The command is given
    as separate arguments: a program that hands them to a shell (ssh, `wsl --`) splits them. For ssh, use SshRunner. It
    forwards no ports.

    Args:
        arguments: The program and its arguments.
    """

    arguments: tuple[str, ...] = field(converter=_words)

    @property
    def host(self) -> str:
        """The arguments, as a shell has them."""
        return shlex.join(self.arguments)

    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        """As in Link."""
        return (*self.arguments, *command)


def _ssh_host(value: str) -> str:
    validate.text("host", value)
    if not re.fullmatch(r"[^\s\x00-\x1f]+", value) or value.startswith("-") or "@-" in value:
        raise ValueError(f"host must be a name that ssh knows, not {validate.shown(value)}")
    return value


_WITH_VALUE = frozenset("BbcDEeFIiJLlmopRSw")  # options of ssh that take one (OpenSSH 9.9)
_NO_COMMAND = frozenset("fGNnOPQstVW")  # with these ssh runs no command, or one without this program's stdin


def _ssh_options(value: Sequence[str]) -> tuple[str, ...]:
    words = validate.words("options", value) if value else ()
    rest = iter(words)
    for word in rest:
        letters = word[1:] if word.startswith("-") else ""
        if not letters or letters.startswith("-"):
            raise ValueError(f"options must be those of ssh, such as ['-p', '2222'], not {validate.shown(word)}")
        for place, letter in enumerate(letters, 1):
            if letter in _NO_COMMAND:
                raise ValueError(f"options must leave ssh a command to run and its stdin, unlike -{letter}")
            if letter in _WITH_VALUE:
                if place == len(letters):
                    next(rest, None)
                break
    return words


# Before the user's options, since the first value wins. A prompt would wait for a terminal that nobody sees; what a user's
# configuration says of commands, terminals and forwards is for the user's own sessions.
_FIRST = ("-T", "-o", "BatchMode=yes", "-o", "RemoteCommand=none")
_MAIN = ("-o", "ClearAllForwardings=yes")
_LAST = ("-o", "ConnectTimeout=30")


@final
@frozen
class SshLink(Link):
    """OpenSSH's own program, with its configuration, agent, known hosts and jumps. It asks no questions (BatchMode).

    Args:
        name: The host, as ssh has it: a name of its configuration, `user@host`, `ssh://user@host:port`.
        options: Arguments for ssh: `["-F", "config", "-p", "2222"]`.
        program: The ssh program.
    """

    name: str = field(converter=_ssh_host)
    options: tuple[str, ...] = field(default=(), converter=_ssh_options)
    program: str = "ssh"

    @property
    def host(self) -> str:
        """The arguments that decide which host it is."""
        return shlex.join(("ssh", *self.options, self.name))

    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        """As in Link. ssh joins its arguments for the login shell there, so they are quoted once."""
        return (self.program, *_FIRST, *_MAIN, *self.options, *_LAST, "--", self.name, shlex.join(command))

    def forward(self, port: int, to: int) -> tuple[str, ...]:
        """As in Link."""
        # A command that ends with its stdin, instead of -N: so the forward ends with this program, however that ends. It is
        # started once the forward stands. (To connect to the port would reach the service behind it.)
        way = ("-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:{to}")
        command = shlex.join(("sh", "-c", f"echo {READY.decode()}; exec cat"))
        return (self.program, *_FIRST, *way, *self.options, *_LAST, "--", self.name, command)
