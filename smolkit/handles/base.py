"""What the parts of Machine know of each other, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit.aio import AsyncMachine
    from smolkit.commands.create import MachineSpec
    from smolkit.commands.dialect import Dialect
    from smolkit.flows.teardown import Keep
    from smolkit.handles.known import Known
    from smolkit.runners.base import Runner
    from smolkit.values.ownership import Marks
    from smolkit.values.results import MachineInfo


class Handle:
    """A machine's handle. Machine is made of parts, one for each thing one does with a machine."""

    __slots__ = ()

    if TYPE_CHECKING:
        name: str
        _runner: Runner
        _spec: MachineSpec
        _session: str

        def __init__(
            self, runner: Runner, name: str, spec: MachineSpec | None = None, *, keep: Keep = False, session: str = ""
        ) -> None: ...

        def _woke(self) -> None: ...

        def _marks(self) -> Marks: ...

        def _adopt(self, marks: Marks) -> None: ...

        def to_async(self) -> AsyncMachine: ...  # noqa: D102

        def status(self) -> MachineInfo: ...  # noqa: D102

        @property
        def _known(self) -> Known: ...

        @property
        def _dialect(self) -> Dialect: ...
