"""The root of the error tree and the base of command errors: here, because a result raises. See `smolkit.errors`."""

from __future__ import annotations

from smolkit import values
from smolkit.values.shown import JSON_FAILURE, shell_line, tail, without_users


class SmolvmError(Exception):
    """The root of all errors about an engine or a machine, with the evidence: command line, exit status and output.

    Attributes:
        message: What failed, in one line; the engine's own words where there are any.
        completed: The engine call that failed, with the values of `env` masked. None if no process was started.
        hint: What to do next.
        summary: What the failure means, where the engine's own words do not explain it.
    """

    __module__ = "smolkit.errors"  # what users import, so also what a traceback shows

    hint: str = ""
    summary: str = ""

    def __init__(self, message: str, completed: values.Completed | None = None) -> None:
        self.message: str = without_users(message)
        self.completed: values.Completed | None = completed and completed.redacted()
        super().__init__(self.message, self.completed)

    @property
    def argv(self) -> tuple[str, ...]:
        """The engine's arguments with the values of `env` masked. Empty if no process was started."""
        return self.completed.argv if self.completed else ()

    @property
    def returncode(self) -> int | None:
        """The engine's exit status; -N if signal N killed it. None if no process was started."""
        return self.completed.returncode if self.completed else None

    @property
    def stdout(self) -> str:
        """The engine's standard output, as text."""
        return self.completed.stdout.decode("utf-8", "replace") if self.completed else ""

    @property
    def stderr(self) -> str:
        """The engine's standard error, as text."""
        return self.completed.stderr.decode("utf-8", "replace") if self.completed else ""

    def __str__(self) -> str:
        lines = [tail(self.message)]
        if self.completed:
            lines += [f"  command: {shell_line(('smolvm', *self.argv))}", f"  exit status: {self.returncode}"]
            # Without the line that the message was taken from: it would appear twice.
            said = [line for line in tail(self.completed.stderr).splitlines() if not line.startswith(JSON_FAILURE)]
            lines += ["  stderr:", *(f"    {line}" for line in said if line != f"Error: {lines[0]}")] if said else []
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class ExecError(SmolvmError):
    """A command in the guest failed, or could not be run to its end."""

    __module__ = "smolkit.errors"  # likewise
