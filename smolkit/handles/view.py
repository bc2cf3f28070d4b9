"""A view of a machine: its commands and files, with defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from smolkit import handles
from smolkit.commands.base import LONG
from smolkit.handles.copying import CopyMethods
from smolkit.handles.defaults import Defaults
from smolkit.handles.directories import DirectoryMethods
from smolkit.handles.files import AnyGuestPath
from smolkit.handles.guest_commands import CommandMethods
from smolkit.handles.transfers import TransferMethods
from smolkit.values.keywords import suggests_keywords


@suggests_keywords
@final
class MachineView(CommandMethods, TransferMethods, CopyMethods, DirectoryMethods):
    """A machine's commands and files, with defaults of their own. Made by `machine.at(...)`.

    With a workdir, its commands run there, and relative paths start there: those of its file methods, of `path`, and of a
    call's own `workdir`. It owns nothing, and holds as long as the machine does.

    Attributes:
        name: The machine's name.
    """

    __slots__ = ("_of",)

    def __init__(self, machine: handles.Machine, defaults: Defaults) -> None:
        super().__init__(machine._runner, machine.name, machine._spec, machine._really_known)  # noqa: SLF001  (of this class)
        self._of, self._defaults = machine, defaults

    @property
    def _machine(self) -> handles.Machine:
        return self._of

    def __repr__(self) -> str:
        return f"<MachineView {self.name!r} at {self._defaults.workdir or '/'!r}>"

    def __reduce__(self) -> tuple[Callable[..., MachineView], tuple[handles.Machine, Defaults]]:
        return MachineView, (self._of, self._defaults)

    def exists(self, path: AnyGuestPath, *, timeout: float | None = LONG, user: str | None = None) -> bool:
        """True if the running machine has that file. A dangling symlink exists, too."""
        return self._file_exists(path, timeout, user)
