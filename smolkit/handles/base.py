"""The state of a handle on one machine, on which its methods stand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from attrs import evolve

from smolkit import commands, handles, runners
from smolkit.commands.converters import machine_name, optional_user
from smolkit.commands.dialect import Dialect
from smolkit.commands.exec import ExecCommand
from smolkit.errors import ConfigError, SmolvmError
from smolkit.flows import lookup, not_started
from smolkit.flows.steps import perform
from smolkit.handles.defaults import NONE
from smolkit.handles.following import follow
from smolkit.handles.known import Known
from smolkit.handles.process import Process
from smolkit.runners.acting import apart

C = TypeVar("C", bound=ExecCommand[Any])

_ROOT = frozenset({"root", "0", "0:0"})


class Handle:
    """The state of a handle on one machine.

    Args:
        runner: Runs the engine's commands.
        name: The machine's name.
        spec: The machine to create, if the handle creates it.
        known: The handle's knowledge of its machine.

    Attributes:
        name: The machine's name.
    """

    __slots__ = ("__weakref__", "_defaults", "_really_known", "_runner", "_spec", "name")

    def __init__(self, runner: runners.Runner, name: str, spec: commands.MachineSpec, known: Known) -> None:
        self.name: str = machine_name(name)
        self._runner = runner
        self._spec = spec
        self._really_known = known
        self._defaults = NONE

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Handle) or self._defaults != other._defaults:
            return False
        return (self.name, self._runner.host) == (other.name, other._runner.host)

    def __hash__(self) -> int:
        return hash((self.name, self._runner.host))

    @property
    def _machine(self) -> handles.Machine:
        """The handle that owns the machine, if one does: for what must not depend on a view's defaults."""
        raise NotImplementedError

    @property
    def _known(self) -> Known:
        """The handle's knowledge of its machine, to be read and changed: in a dry run, a copy that ends with it."""
        return apart(self._runner, self._really_known)

    @property
    def _dialect(self) -> Dialect:
        return self._runner.engine.dialect

    def _is_bare(self) -> bool:
        """True if the machine has no image. Looked up once, if this handle does not know."""
        known, chosen = self._known, dict(self._spec.chosen)
        if known.bare is None and chosen.keys() & {"image", "from_path"}:
            known.bare = False
        elif known.bare is None and known.made is not None and not (known.adopted or "smolfile" in chosen):
            known.bare = True
        elif known.bare is None:
            known.bare = perform(self._runner, lookup.status(self.name, self._dialect)).image is None
        return known.bare is True

    def _as_user(self, command: C) -> C:
        """The command, on a bare machine with `su` in place of the engine's `--user`."""
        if not (change := self._for_user(command.user)):
            return command
        variables: dict[str, Any] = {"env": dict(command.env), "secrets": dict(command.secrets)}
        return evolve(command, **variables, **change)

    def _for_user(self, user: str | None) -> dict[str, Any]:
        """The options of a command that differ on a bare machine, for a command of this user."""
        if optional_user(user) is None or not self._is_bare():
            return {}
        if user in _ROOT:
            return {"user": None}
        if user is not None and ":" in user:
            error = ConfigError(f"user must be a name or a uid on a bare machine, where `su` takes no group: {user!r}")
            error.hint = "a machine with an image takes groups"
            raise error
        return {"su": True}

    def _popen(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        stdin: bool = False,
        text: bool = False,
        grace: float | None = 5.0,
        **options: Any,
    ) -> Process[Any]:
        """Follow a command in the guest (see `Machine.popen`)."""
        # An input, even an empty one, makes the engine send the output as it comes: `exec -i`.
        made = commands.Exec(self.name, command, input=b"", machine_secrets=self._spec.secrets, **options)
        made = self._as_user(made)
        explain = partial(self._explain, made)
        return follow(self._runner, made, self.name, made.command, stdin=stdin, text=text, grace=grace, explain=explain)

    def _explain(self, command: ExecCommand[Any], error: SmolvmError) -> SmolvmError:
        """The error to raise for a command that failed."""
        return perform(self._runner, not_started.explained(error, command, command.workdir or self._spec.workdir))
