"""The defaults of a view: what its commands and file methods get where a call leaves it out."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from typing import Any, Self, final

from attrs import evolve, field, frozen

from smolkit import values
from smolkit.commands.base import LONG
from smolkit.commands.converters import optional_seconds, optional_user
from smolkit.values import validate
from smolkit.values.hidden import Hidden


@final
@frozen
class Defaults:
    """The defaults of a view; without any, all options stay as they are given.

    Attributes:
        workdir: The directory at which relative paths start, and in which commands run.
        env: Variables of commands.
        secrets: Variables of commands that are in no argv.
        user: As whom commands and file methods run.
        timeout: Seconds.
    """

    workdir: str | None = None
    env: tuple[tuple[str, Hidden], ...] = ()
    secrets: tuple[tuple[str, values.Secret], ...] = field(default=(), repr=False)
    user: str | None = None
    timeout: float | None = None

    def over(self, given: Mapping[str, Any]) -> Self:
        """These defaults with others on top, as they are given to `at`."""
        filled = self.of_command(given)
        workdir = filled["workdir"]
        return evolve(
            self,
            workdir=None if workdir is None else validate.utf8("workdir", validate.guest_path("workdir", workdir)),
            env=validate.hidden_pairs("env", filled["env"]),
            secrets=validate.secrets("secrets", filled["secrets"]),
            user=optional_user(filled["user"]),
            timeout=optional_seconds(filled["timeout"]),
        )

    def of_command(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a command, with these where it has none. Its variables are added to these."""
        env, secrets = dict(self.env), dict(self.secrets)
        own, hidden = validate.hidden_pairs("env", given.get("env")), validate.secrets("secrets", given.get("secrets"))
        # A variable of the call wins, also over one of the other kind.
        env = {**{name: value for name, value in env.items() if name not in dict(hidden)}, **dict(own)}
        secrets = {**{name: value for name, value in secrets.items() if name not in dict(own)}, **dict(hidden)}
        return {
            **given,
            "env": env,
            "secrets": secrets,
            "workdir": self.workdir if given.get("workdir") is None else self.resolve(given["workdir"]),
            "user": self.user if given.get("user") is None else given["user"],
            **({"timeout": self.timeout if given["timeout"] is None else given["timeout"]} if "timeout" in given else {}),
        }

    def of_files(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The timeout and user of a file method, with these where they are the method's own defaults."""
        user, timeout = given.get("user"), given.get("timeout")
        if self.timeout is not None and timeout == LONG:
            timeout = self.timeout
        return {**given, "user": self.user if user is None else user, "timeout": timeout}

    def resolve(self, path: Any) -> Any:
        """A path in the guest; a relative one starts at the view's workdir, if there is one."""
        if self.workdir is None or not isinstance(path, (str, os.PathLike)):
            return path
        name = os.fspath(path)
        return posixpath.join(self.workdir, name) if isinstance(name, str) and name else path


NONE = Defaults()
