"""What holds secrets: objects without a repr, so that no log, traceback or debugger shows what is in them.

Debuggers and test runners show the locals of each frame. So a frame of smolkit's that can raise holds secrets only in these
objects; what a caller passes as it is, is put into them (`hide`) by the first line that sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex, TypeVar, final

T = TypeVar("T")

MASK = "***"
_GONE = object()  # what is left of a pickled value
_VARIABLES = frozenset({"env", "secrets"})  # options that are mappings of variables
_VALUES = frozenset({"proxy", "input"})  # and those that are values which may be secrets: a proxy's URL holds a password


@final
class Hidden:
    """A string that no repr, log or pickle shows; `reveal()` gives it. The pickled copy is empty."""

    __slots__ = ("_text",)

    def __init__(self, text: Any = _GONE) -> None:
        self._text = text

    def reveal(self) -> str:
        """The string itself.

        Raises:
            ValueError: this is a pickled copy, which left the string behind.
        """
        if self._text is _GONE:
            raise ValueError("a hidden value does not travel by pickle: give env, secrets and proxy again on this side")
        return self._text  # type: ignore[no-any-return]  # or what is to be refused: see `smolkit.values.validate`

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and bool(self._text == other._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return MASK

    def __reduce__(self) -> tuple[type[Hidden], tuple[()]]:
        return Hidden, ()

    def __copy__(self) -> Hidden:
        return self

    def __deepcopy__(self, memo: object) -> Hidden:
        return self


@final
class Word(str):
    """A word of a command line that holds a secret (`-e`'s KEY=VALUE): a str, of which repr and pickles show only a part.

    Attributes:
        shown: That part.
    """

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, text: str, shown: str = MASK) -> Word:
        """The word, and what a repr shows of it."""
        made = super().__new__(cls, text)
        made.shown = shown
        return made

    def __repr__(self) -> str:
        return repr(self.shown)

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        return Word(super().__getitem__(key), self.shown)  # rich cuts a str before it takes its repr

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self.shown,)


@final
class Variables(Mapping[str, str]):
    """The variables of a process: a mapping whose repr has their names only."""

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
    """The repr of a mapping without its values."""
    return repr(dict.fromkeys(values, Hidden()))


def hide(value: T) -> T:
    """A caller's mapping, its values Hidden; whatever else it gave, Hidden as it is. Checks nothing; twice is once."""
    if value is None or isinstance(value, Hidden):
        return value
    if isinstance(value, Mapping):
        return {_key(key): hide_value(item) for key, item in value.items()}  # type: ignore[return-value]
    return Hidden(value)  # type: ignore[return-value]


def _key(key: Any) -> Any:
    """A key; what somebody wrote KEY=VALUE for is refused later, and shown as little."""
    return Word(key, f"{key.partition('=')[0]}={MASK}") if isinstance(key, str) and "=" in key else key


def hide_value(value: Any) -> Any:
    """A caller's value, Hidden whatever it is, but for "not given"."""
    return value if isinstance(value, Hidden) else Hidden(value)


def hide_options(options: T) -> T:
    """A caller's keyword arguments, with those Hidden that hold secrets."""
    if not isinstance(options, Mapping):
        return options
    hidden = {name: hide(options[name]) for name in options.keys() & (_VARIABLES | _VALUES)}
    return {**options, **hidden}  # type: ignore[return-value]


def hide_arguments(arguments: T) -> T:
    """A caller's positional arguments, with the values of mappings Hidden."""
    assert isinstance(arguments, tuple)  # noqa: S101  (for the type checker)
    return tuple(hide(item) if isinstance(item, Mapping) else item for item in arguments)  # type: ignore[return-value]
