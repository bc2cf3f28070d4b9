"""Failures at the far end as frames, and back: a fixed list of kinds, never a pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smolkit.errors import (
    DeadlockError,
    EngineNotFoundError,
    ForeignProgramError,
    HostLimitError,
    QueueTimeoutError,
    SmolvmError,
)

if TYPE_CHECKING:
    from smolkit.runners.remote.wire import Frame

_KINDS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(DeadlockError, EngineNotFoundError, ForeignProgramError, HostLimitError, QueueTimeoutError, SmolvmError),
        *(RuntimeError, ValueError),
    )
}


def described(error: BaseException) -> dict[str, Any]:
    """The fields of a frame that tells of an exception."""
    if isinstance(error, SmolvmError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, OSError) and error.errno is not None:
        return {"kind": "OSError", "errno": error.errno, "message": error.strerror or "", "file": str(error.filename or "")}
    return {"kind": type(error).__name__, "message": str(error)}


def failure(frame: Frame, host: str) -> Exception:
    """The exception of such a frame, with the host in its message."""
    kind, message = frame.fields.get("kind"), f"{host}: {frame.fields.get('message')}"
    if kind == "OSError":
        file = frame.fields.get("file") or None
        return OSError(frame.integer("errno"), message, file)
    found = _KINDS.get(str(kind))
    if found is None:
        return SmolvmError(f"{host}: {kind}: {frame.fields.get('message')}")
    error = found(message)
    if isinstance(error, SmolvmError) and (hint := frame.fields.get("hint")):
        error.hint = str(hint)
    return error
