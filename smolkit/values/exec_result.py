"""The result of a command in the guest, and the error that its `check()` raises: each knows the other."""

from __future__ import annotations

from typing import Self, final

from attrs import field, frozen

from smolkit.values.base_error import ExecError
from smolkit.values.cut import Cut
from smolkit.values.results import shown_bytes
from smolkit.values.shown import shell_line, tail


def _text(data: bytes, cut: Cut | None) -> str:
    if cut is None:
        return data.decode("utf-8", "replace")
    head, tail = (part.decode("utf-8", "replace") for part in (data[: cut.offset], data[cut.offset :]))
    return f"{head}\n[... {cut.size} bytes are missing here ...]\n{tail}"


@final
@frozen
class ExecResult:
    """The result of a command in the guest, whatever its exit status; `check()` raises on a non-zero one.

    Attributes:
        args: The command, as given.
        returncode: Its exit status; 128 + N if signal N killed it (engine >= 0.8.1; 255 before).
        stdout_bytes, stderr_bytes: Its exact output. With `on_limit="truncate"`, the beginning and the end of it.
        duration: Seconds the whole call took on the host.
        stdout_cut, stderr_cut: What is missing in the middle of it then; None if nothing is.
    """

    args: tuple[str, ...]
    returncode: int
    stdout_bytes: bytes = field(default=b"", repr=shown_bytes)
    stderr_bytes: bytes = field(default=b"", repr=shown_bytes)
    duration: float = field(default=0.0, eq=False)
    stdout_cut: Cut | None = None
    stderr_cut: Cut | None = None

    @property
    def stdout(self) -> str:
        """`stdout_bytes` as UTF-8 text; invalid bytes become U+FFFD. A line says how many bytes are missing, if any are."""
        return _text(self.stdout_bytes, self.stdout_cut)

    @property
    def stderr(self) -> str:
        """`stderr_bytes` as text, likewise."""
        return _text(self.stderr_bytes, self.stderr_cut)

    @property
    def truncated(self) -> bool:
        """True if something is missing in its output."""
        return self.stdout_cut is not None or self.stderr_cut is not None

    @property
    def ok(self) -> bool:
        """True if the exit status is 0."""
        return self.returncode == 0

    def check(self) -> Self:
        """Return this result if the exit status is 0.

        Raises:
            CommandFailedError: the exit status is not 0.
        """
        if not self.ok:
            raise CommandFailedError(self)
        return self


class CommandFailedError(ExecError):
    """The command exited with a non-zero status, and `check=True`.

    Attributes:
        result: The ExecResult.
    """

    __module__ = "smolkit.errors"  # as of SmolvmError

    def __init__(self, result: ExecResult) -> None:
        super().__init__(f"the guest's command exited with status {result.returncode}: {shell_line(result.args)}")
        self.args: tuple[ExecResult] = (result,)
        self.result: ExecResult = result

    @property
    def returncode(self) -> int:
        """The guest's exit status; 128 + N if signal N killed the command."""
        return self.result.returncode

    @property
    def stdout(self) -> str:
        """The command's standard output, as text."""
        return self.result.stdout

    @property
    def stderr(self) -> str:
        """The command's standard error, as text."""
        return self.result.stderr

    def __str__(self) -> str:
        said = tail(self.result.stderr_bytes) or tail(self.result.stdout_bytes)
        return "\n".join([tail(self.message), *(f"    {line}" for line in said.splitlines())])
