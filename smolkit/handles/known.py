"""A handle's knowledge of its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from smolkit.values.ownership import Marks


@final
class Known:
    """A handle's knowledge of its machine, from the calls that it made.

    The attributes are plain ones: to set one is no call, in which a signal handler could raise.

    Attributes:
        adopted: Whether the machine was made as a branch, or with its workload: this handle's description may not be all.
        bare: Whether it has no image: then it has no other user than root for the engine. None if nobody has looked.
        branchable: Whether it was ever started so.
        failure: How the last `ensure` failed; None if it did not.
        inside: Whether a `with` of the handle has begun and not ended, or `open` was called and `close` not.
        made: The marks of what the handle made and has not deleted.
        ready: Whether what `inside` says has begun is complete: the machine is started.
        tries: How many times `ensure` has failed to open the machine.
        warm: Whether a command ran in the machine since it was started.
    """

    # Without attrs, whose making of a class takes 0.4 ms.
    __slots__ = ("adopted", "bare", "branchable", "failure", "inside", "made", "ready", "tries", "warm")

    def __init__(self, *, branchable: bool) -> None:
        self.adopted: bool = False
        self.bare: bool | None = None
        self.branchable: bool = branchable
        self.failure: Exception | None = None
        self.inside: bool = False
        self.ready: bool = False
        self.tries: int = 0
        self.warm: bool = False
        self.made: Marks | None = None
