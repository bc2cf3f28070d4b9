"""Containers for secrets. Their repr shows none of the content, so no log, traceback or debugger does.

Debuggers and test runners show the locals of each frame. So a frame of smolkit that can raise must hold secrets only in
these containers. A caller passes plain values: the first line that sees them puts them into containers, by `hide`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex, TypeVar, final

T = TypeVar("T")

MASK = "***"
_GONE = object()  # in place of the string in a pickled copy
_VARIABLES = frozenset({"env", "secrets"})  # options that map variables to values
_VALUES = frozenset({"proxy", "input"})  # options that may be secrets themselves: a proxy's URL may hold a password


@final
class Hidden:
    """A string that no repr, log or pickle shows. `reveal()` returns it. A pickled copy is empty."""

    __slots__ = ("_text",)

    # Any type: what the caller passed is hidden first and checked later (see smolkit.values.validate).
    def __init__(self, text: Any = _GONE) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the string.

        Raises:
            ValueError: this is a pickled copy, which does not have it.
        """
        if self._text is _GONE:
            raise ValueError("env, secrets and proxy are not pickled: pass them again after unpickling")
        return self._text  # type: ignore[no-any-return]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and bool(self._text == other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[type[Hidden], tuple[()]]:
        return Hidden, ()

    # Without these two, `copy` would go by __reduce__ and lose the string.
    def __copy__(self) -> Hidden:
        return self

    def __deepcopy__(self, memo: object) -> Hidden:
        return self


@final
class Word(str):
    """A command-line argument that contains a secret (KEY=VALUE of `-e`): a str whose repr and pickles show only a part.

    Attributes:
        shown: The part that they show.
    """

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, text: str, shown: str = MASK) -> Word:
        """Make the argument from its text, and from the part that its repr shows."""
        made = super().__new__(cls, text)
        made.shown = shown
        return made

    def __repr__(self) -> str:
        return repr(self.shown)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        return Word(super().__getitem__(key), self.shown)  # rich slices a str before it takes the repr

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self.shown,)


@final
class Variables(Mapping[str, str]):
    """Environment variables of a process: a mapping whose repr shows only the names."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str | Hidden]) -> None:
        self._values = {key: item.reveal() if isinstance(item, Hidden) else item for key, item in values.items()}

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return masked(self._values)

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[dict[str, str]]]:
        return dict, (dict.fromkeys(self, MASK),)


def masked(values: Mapping[str, object]) -> str:
    """The repr of a mapping, with the values masked."""
    return repr(dict.fromkeys(values, Hidden()))


def hide(value: T) -> T:
    """Make the values of a caller's mapping Hidden, or any other value itself. None stays None. Idempotent, no checks."""
    if value is None or isinstance(value, Hidden):
        return value
    if isinstance(value, Mapping):
        return {_key(key): hide_value(item) for key, item in value.items()}  # type: ignore[return-value]
    return Hidden(value)  # type: ignore[return-value]


def _key(key: Any) -> Any:
    """A key of a mapping. One that is KEY=VALUE by mistake is refused later; until then its repr shows only KEY."""
    return Word(key, f"{key.partition('=')[0]}={MASK}") if isinstance(key, str) and "=" in key else key


def hide_value(value: Any) -> Any:
    """Make a caller's value Hidden, whatever its type. Idempotent."""
    return value if isinstance(value, Hidden) else Hidden(value)


def hide_options(options: T) -> T:
    """Make those of a caller's keyword arguments Hidden that may be secrets."""
    if not isinstance(options, Mapping):
        return options
    hidden = {name: hide(options[name]) for name in options.keys() & (_VARIABLES | _VALUES)}
    return {**options, **hidden}  # type: ignore[return-value]


def hide_arguments(arguments: T) -> T:
    """Make the values of mappings Hidden in a caller's positional arguments."""
    assert isinstance(arguments, tuple)  # noqa: S101  (for the type checker)
    return tuple(hide(item) if isinstance(item, Mapping) else item for item in arguments)  # type: ignore[return-value]
