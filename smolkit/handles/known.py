"""What a handle knows of its machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from attrs import define

if TYPE_CHECKING:
    from smolkit.values.ownership import Marks


@final
@define
class Known:
    """What a handle knows of its machine, because of the calls that it made.

    Plain attributes, since setting one is no call: nowhere in between can a signal handler raise.

    Attributes:
        branchable: Whether it was ever started so.
        inside: Whether a `with` of the handle has begun and not ended.
        made: The marks of what the handle made and has not deleted.
        warm: Whether a command ran in the machine since it was started.
    """

    branchable: bool
    inside: bool = False
    made: Marks | None = None
    warm: bool = False
