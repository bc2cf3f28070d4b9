"""The words of a command line of the engine, once they are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smolkit.testing.engine_failures import usage


class Arguments:
    """The words behind a subcommand. (No attrs: see machine_records.)

    Args:
        options: The values of each flag, None for each use of a switch.
        positional: Positional arguments.
        command: The guest's command: everything after `--`.
    """

    def __init__(
        self, options: Mapping[str, list[str | None]], positional: tuple[str, ...], command: tuple[str, ...]
    ) -> None:
        self.options: Mapping[str, list[str | None]] = options
        self.positional: tuple[str, ...] = positional
        self.command: tuple[str, ...] = command

    @property
    def name(self) -> str:
        """The machine's name: `--name`, or the first positional argument as older engines take it.

        Raises:
            EngineFailure: There is none.
        """
        if found := self.value("--name") or next(iter(self.positional), ""):
            return found
        raise usage("the following required arguments were not provided:\n  --name <NAME>")

    def value(self, flag: str, default: str = "") -> str:
        """The last value of a flag."""
        return str(self.options[flag][-1]) if flag in self.options else default

    def values(self, flag: str) -> list[str]:
        """All values of a flag."""
        return [str(value) for value in self.options.get(flag, ())]

    def pairs(self, flag: str) -> dict[str, str]:
        """All values of a flag that takes KEY=VALUE. One without a key is skipped, as the engine does."""
        found = (value.partition("=") for value in self.values(flag))
        return {key: value for key, _, value in found if key}


def split(words: Sequence[str], switches: frozenset[str], flags: frozenset[str]) -> Arguments:
    """Tell the words behind a subcommand apart.

    Args:
        words: The words.
        switches: The flags without a value.
        flags: The flags with one: the next word, or behind a "=".

    Raises:
        EngineFailure: The engine has no such flag.
    """
    rest = list(words)
    options: dict[str, list[str | None]] = {}
    positional = []
    while rest and rest[0] != "--":
        word = rest.pop(0)
        flag, glued, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            positional.append(word)
        elif flag in switches and not glued:
            options.setdefault(flag, []).append(None)
        elif flag in flags and (glued or rest):
            options.setdefault(flag, []).append(value if glued else rest.pop(0))
        else:
            raise usage(f"unexpected argument '{flag}' found")
    return Arguments(options, tuple(positional), tuple(rest[1:]))
