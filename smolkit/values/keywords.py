"""Unknown keywords: a TypeError that says which one was meant."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar

from smolkit.values.hidden import Hidden

_Class = TypeVar("_Class", bound=type)

_TAKES_ANY = 0x08  # CO_VARKEYWORDS: the method has **options, and checks them itself
_NEAR = 0.75  # of difflib's ratio: `timout` is near `timeout`, and `name` is not near `net`

# Other libraries' names, where difflib does not see what is meant.
_SYNONYMS = {
    "args": "command",
    "cmd": "command",
    "cwd": "workdir",
    "encoding": "text",
    "environment": "env",
    "environ": "env",
    "file": "path",
    "forkable": "branchable",
    "ignore_missing": "missing_ok",
    "img": "image",
    "input": "stdin",
    "mem": "memory",
    "mounts": "volumes",
    "permissions": "mode",
    "publish": "ports",
    "stdin": "input",
    "universal_newlines": "text",
    "username": "user",
    "working_dir": "workdir",
}


def known(what: str, given: Iterable[str], options: Collection[str], also: Collection[str] = ()) -> None:
    """Check that every keyword given is one of the options.

    Args:
        what: What takes them, for the message.
        given: The keywords.
        options: The keywords that are accepted.
        also: Others that were accepted before this check, and may have been meant.

    Raises:
        TypeError: one is not an option; the message names the one that was meant, if that can be told.
    """
    for key in given:
        if key not in options:
            near = _meant(key, {*options, *also})
            raise TypeError(f"{what} has no option {key!r}" + (f"; did you mean {near!r}?" if near else ""))


def _meant(key: str, options: Collection[str]) -> str:
    from difflib import get_close_matches  # late: only on the way to an error

    named = [_SYNONYMS[key]] if _SYNONYMS.get(key) in options else []
    return next(iter(named or get_close_matches(key, sorted(options), n=1, cutoff=_NEAR)), "")


def suggests_keywords(kind: _Class) -> _Class:
    """Class decorator: a method that is called with a keyword that it lacks says which one was meant."""
    for name, method in list(vars(kind).items()):
        if isinstance(method, FunctionType) and (name == "__init__" or not name.startswith("_")):
            options = _keywords(method)
            if options and not method.__code__.co_flags & _TAKES_ANY:
                setattr(kind, name, _suggesting(method, kind.__name__ if name == "__init__" else name, options))
    return kind


def _keywords(method: FunctionType) -> tuple[str, ...]:
    """The parameters that may be given by keyword. Not by `inspect`, which takes long to import."""
    code = method.__code__
    return code.co_varnames[max(1, code.co_posonlyargcount) : code.co_argcount + code.co_kwonlyargcount]


def _suggesting(method: Callable[..., Any], name: str, options: tuple[str, ...]) -> Callable[..., Any]:
    @wraps(method)
    def checked(*args: Any, **keywords: Any) -> Any:
        if not keywords.keys() <= allowed:
            known(name, keywords, options)
        # Secrets may be among them, and tracebacks may show this frame's locals.
        given: Any = Hidden((args, keywords))
        args, keywords = (), {}
        return method(*given.reveal()[0], **given.reveal()[1])

    allowed = frozenset(options)
    return checked
