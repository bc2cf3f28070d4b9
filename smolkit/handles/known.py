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
        bare: Whether it has no image: then it has no other user than root for the engine. None if nobody has looked.
        branchable: Whether it was ever started so.
        inside: Whether a `with` of the handle has begun and not ended.
        made: The marks of what the handle made and has not deleted.
        warm: Whether a command ran in the machine since it was started.
    """

    __slots__ = ("bare", "branchable", "inside", "made", "warm")  # without attrs, whose making of a class takes 0.4 ms

    def __init__(self, *, branchable: bool) -> None:
        self.bare: bool | None = None
        self.branchable: bool = branchable
        self.inside: bool = False
        self.warm: bool = False
        self.made: Marks | None = None
