"""The root of the tree, and how errors show what programs said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smolkit.values.shown import JSON_FAILURE, printable, shell_line, without_users

if TYPE_CHECKING:
    from smolkit.values.results import Completed

_TAIL_LINES = 12
_TAIL_CHARACTERS = 2000


def tail(output: bytes | str) -> str:
    """The last lines of what a program said, safe to print: see `smolkit.values.shown`. Guests are hostile."""
    if isinstance(output, bytes):
        output = output[-4 * _TAIL_CHARACTERS :].decode("utf-8", "replace")
    text = without_users(output[-4 * _TAIL_CHARACTERS :]).strip()
    return printable("\n".join(text[-_TAIL_CHARACTERS:].splitlines()[-_TAIL_LINES:]))


def add_note(error: BaseException, text: str) -> None:
    """Makes a note on an exception, or where it takes none (a frozen class) logs it as a warning; never raises.

    It may quote what programs said: it is made safe to print.
    """
    text = printable(without_users(text))
    try:
        error.add_note(text)
    except Exception:  # noqa: BLE001  (a note must not hide what it is about)
        import logging  # late: only where something went wrong

        logging.getLogger("smolkit").warning("%s: %s", type(error).__name__, text)


class SmolvmError(Exception):
    """The root of the tree, and the evidence: what failed, the command line (values of env hidden), exit status, output.

    Attributes:
        message: What failed, in one line; the engine's own words where it has any.
        completed: The call that failed, or None where no process was started.
        hint: What to do next.
        summary: What it means, for failures that the engine's own words do not explain.
    """

    hint: str = ""
    summary: str = ""

    def __init__(self, message: str, completed: Completed | None = None) -> None:
        self.message = without_users(message)
        self.completed = completed and completed.redacted()
        super().__init__(self.message, self.completed)

    @property
    def argv(self) -> tuple[str, ...]:
        """The engine's arguments, values of env hidden; empty where no process was started."""
        return self.completed.argv if self.completed else ()

    @property
    def returncode(self) -> int | None:
        """The engine's exit status (negative: killed by that signal), or None where no process was started."""
        return self.completed.returncode if self.completed else None

    @property
    def stdout(self) -> str:
        """What the engine wrote on standard output, as text."""
        return self.completed.stdout.decode("utf-8", "replace") if self.completed else ""

    @property
    def stderr(self) -> str:
        """What the engine wrote on standard error, as text."""
        return self.completed.stderr.decode("utf-8", "replace") if self.completed else ""

    def __str__(self) -> str:
        lines = [tail(self.message)]
        if self.completed:
            lines += [f"  command: {shell_line(('smolvm', *self.argv))}", f"  exit status: {self.returncode}"]
            # The line that the message was taken from would say it twice.
            said = [line for line in tail(self.completed.stderr).splitlines() if not line.startswith(JSON_FAILURE)]
            lines += ["  stderr:", *(f"    {line}" for line in said if line != f"Error: {lines[0]}")] if said else []
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)
