"""One deadline, passed down: the seconds that a caller gave, less those that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from smolkit.values.results import Invocation


def least(*bounds: float | None) -> float | None:
    """The tightest of these bounds, None for none."""
    return min((bound for bound in bounds if bound is not None), default=None)


def left(bound: float | None, waited: float) -> float | None:
    """What is left of a bound."""
    return None if bound is None else max(0.0, bound - waited)


def shortened(invocation: Invocation, waited: float) -> Invocation:
    """The call after a part of the time is gone that its caller gave it. smolkit's own bounds begin with the call."""
    if invocation.patience is None or waited <= 0:
        return invocation
    return evolve(invocation, timeout=left(invocation.timeout, waited), patience=left(invocation.patience, waited))
