"""The clock of a fake: time passes only when somebody waits."""

from __future__ import annotations

_EPOCH = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class FakeClock:
    """A clock that advances only by `sleep`.

    Attributes:
        seconds: Seconds that have passed since the fake was made.
    """

    def __init__(self) -> None:
        self.seconds: float = 0.0

    @property
    def now(self) -> float:
        """The time in seconds since the epoch. A new clock reads 2026-01-01 UTC."""
        return _EPOCH + self.seconds

    def sleep(self, seconds: float) -> None:
        """Advance the clock."""
        self.seconds += seconds
