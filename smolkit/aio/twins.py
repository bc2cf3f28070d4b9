"""Makers of the async side's methods out of the sync side's. `smolkit.aio.handles` has the tables of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper, wraps
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from smolkit.aio.greenlets import in_loop
from smolkit.values.hidden import hide_arguments, hide_options

S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")
A = TypeVar("A")
P = ParamSpec("P")


class Twin(Generic[S_co]):
    """Base class of the async side of an object. It holds the sync object, whose methods do the work."""

    def __init_subclass__(cls) -> None:
        """Name the methods after this side: Python warns of a `coroutine 'AsyncMachine.exec'` that was never awaited."""
        super().__init_subclass__()
        for name, member in vars(cls).items():
            if isinstance(member, FunctionType):
                member.__module__, member.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"

    def __init__(self, sync: S_co) -> None:
        self._sync = sync

    def __repr__(self) -> str:
        return repr(self._sync).replace("<", "<Async", 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin) and type(other) is type(self) and bool(self._sync == other._sync)

    def __hash__(self) -> int:
        return hash(self._sync)


def awaited(method: Callable[Concatenate[S_co, P], T]) -> Callable[Concatenate[Twin[S_co], P], Coroutine[Any, Any, T]]:
    """Make the async side of a method that may reach the engine: a coroutine function."""

    @wraps(method)
    async def awaited_method(self: Twin[S_co], /, *args: P.args, **kwargs: P.kwargs) -> T:
        # First of all: a traceback may show the locals of this frame, and some arguments are secrets.
        args, kwargs = hide_arguments(args), hide_options(kwargs)
        return await in_loop(method, self._sync, *args, **kwargs)

    return awaited_method


def direct(method: Callable[Concatenate[S_co, P], T]) -> Callable[Concatenate[Twin[S_co], P], T]:
    """Make the async side of a method that never reaches the engine: a plain function."""

    @wraps(method)
    def direct_method(self: Twin[S_co], /, *args: P.args, **kwargs: P.kwargs) -> T:
        args, kwargs = hide_arguments(args), hide_options(kwargs)
        return method(self._sync, *args, **kwargs)

    return direct_method


def giving(twin: Callable[[T], A], method: Callable[P, T]) -> Callable[P, A]:
    """Make a method return the twin of what it returns. It still takes the sync object: see `awaited` and `direct`."""

    @wraps(_annotated(method, twin))
    def method_with_twin(*args: P.args, **kwargs: P.kwargs) -> A:
        args, kwargs = hide_arguments(args), hide_options(kwargs)
        return twin(method(*args, **kwargs))

    return method_with_twin


def _annotated(method: Callable[P, T], twin: Callable[[T], A]) -> Callable[P, T]:
    """A copy of the method whose return type is the twin's class. `inspect` and `typing` look at it, through `__wrapped__`.

    A plain function for `twin` is for methods that return Self, which is right on both sides.
    """
    if isinstance(twin, FunctionType):
        return method
    old = cast("FunctionType", getattr(method, "__wrapped__", method))
    new: Any = FunctionType(old.__code__, old.__globals__, old.__name__, old.__defaults__, old.__closure__)
    update_wrapper(new, old)
    del new.__wrapped__  # with it they would look further, at the method itself
    new.__kwdefaults__ = old.__kwdefaults__
    new.__annotations__ = {**old.__annotations__, "return": twin}
    return cast("Callable[P, T]", new)
