"""Simple commands of the small shell after expansion, and the refusal of those that it cannot run faithfully."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from attrs import frozen

from smolkit.testing.program_args import NULL
from smolkit.testing.shell_syntax import UnknownSyntaxError

# Builtins that are not implemented.
_BUILTINS = re.compile(
    r"exec|export|unset|readonly|local|return|break|continue|shift|set|eval|trap|\.|source|read|umask|alias|command|wait"
)
_CHANGES_FILES = {"mkdir", "rm"}
_LOOKS_AT_FILES = {"ls", "test", "cd"}
_TOUCHES_NO_FILE = {"echo", "printf", "true", "false", "sleep", "pwd", "exit"}


@frozen
class Command:
    """A simple command after expansion.

    Attributes:
        words: The program and its arguments.
        redirects: Operator, file name as written, resolved path.
    """

    words: tuple[str, ...]
    redirects: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        """The program; "" for redirections without one."""
        return "".join(self.words[:1])

    @property
    def outputs(self) -> list[str]:
        """Resolved paths of the files that the command writes."""
        return [path for operator, name, path in self.redirects if name and operator != "<" and path != NULL]

    @property
    def inputs(self) -> list[str]:
        """Resolved paths of the files that are redirected to its stdin."""
        return [path for operator, _, path in self.redirects if operator == "<"]

    @property
    def touches_files(self) -> bool:
        """True if it may see what another command does to files at the same time."""
        is_harmless = self.name in _TOUCHES_NO_FILE or self.words in {(), ("cat",)}
        return not is_harmless or any(name for _, name, _ in self.redirects)


def refuse(words: tuple[str, ...]) -> None:
    """Refuse builtins that are not implemented, and what differs between shells."""
    if words[:1] == ("echo",) and any("\\" in word for word in words):
        raise UnknownSyntaxError("echo with a backslash")
    if words[:1] == ("exit",) and words[1:] and not (len(words) == 2 and re.fullmatch("[0-9]{1,9}", words[1])):  # noqa: PLR2004
        raise UnknownSyntaxError(" ".join(words))
    if words[:1] == ("cd",) and not (len(words) == 2 and re.match("[^-]", words[1])):  # noqa: PLR2004
        raise UnknownSyntaxError(" ".join(words))
    if words and _BUILTINS.fullmatch(words[0]):
        raise UnknownSyntaxError(words[0])


def refuse_races(commands: Sequence[Command], being_written: set[str], path_of: Callable[[str], str]) -> None:
    """Refuse pipelines whose result depends on timing, such as a file that is read while it is written.

    Parts of a pipeline run one after the other here, and at the same time in a real shell.

    Args:
        commands: The parts of the pipeline.
        being_written: Resolved paths of the files that commands around the pipeline write.
        path_of: Resolves the name of a file.
    """
    outputs = [path for command in commands for path in command.outputs]
    used = [path for command in commands for path in command.inputs]
    used += [path_of(word) for command in commands if command.name == "cat" for word in command.words[1:] if word]
    sleeps = [command for command in commands if command.name == "sleep"]
    if (
        len(outputs) > len(set(outputs))
        or set(outputs) & {*used, *being_written}
        or len(sleeps) > 1
        or (len(commands) > 1 and _is_file_race(commands))
    ):
        raise UnknownSyntaxError("a pipeline whose result depends on timing")


def _is_file_race(commands: Sequence[Command]) -> bool:
    """True if a part of the pipeline may see what another part does to the file system."""
    changing = [command for command in commands if command.name in _CHANGES_FILES]
    looking = [command for command in commands if command.name in _LOOKS_AT_FILES]
    if looking and any(command.outputs for command in commands):
        return True
    return bool(changing) and any(command.touches_files for command in commands if command is not changing[0])
