"""Arithmetic of bounds: the seconds that a caller gave to a call, less those that have passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from smolkit.values.results import Invocation


def least(*bounds: float | None) -> float | None:
    """The tightest of these bounds; None is no bound."""
    return min((bound for bound in bounds if bound is not None), default=None)


def left(bound: float | None, waited: float) -> float | None:
    """The rest of a bound after so many seconds."""
    return None if bound is None else max(0.0, bound - waited)


def shortened(invocation: Invocation, waited: float) -> Invocation:
    """The call with what is left of its caller's time after `waited` seconds.

    Without `patience` its timeout is smolkit's own bound on the engine, which begins with the call.
    """
    if invocation.patience is None or waited <= 0:
        return invocation
    return evolve(invocation, timeout=left(invocation.timeout, waited), patience=left(invocation.patience, waited))
