"""Notes on exceptions: what else failed, and what is left behind."""

from __future__ import annotations

from smolkit.values.shown import printable, without_users


def add_note(error: BaseException, text: str) -> None:
    """Add a note to an exception. If it takes none (a frozen class), log the note as a warning. Never raises.

    The note may quote a program's output: it is made safe to print.
    """
    text = printable(without_users(text))
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001  (a note must not hide the error it belongs to)
        import logging  # late: only where something went wrong

        logging.getLogger("smolkit").warning("%s: %s", type(error).__name__, text)
