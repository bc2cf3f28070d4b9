"""The runner whose engine is behind ssh."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack, final

from smolkit.runners.remote.links import SshLink
from smolkit.runners.remote.runner import RemoteRunner
from smolkit.values.hidden import hide_options


class RemoteOptions(TypedDict, total=False):
    """The keywords of RemoteRunner."""

    program: str | os.PathLike[str] | None
    prefix: Sequence[str]
    state_dir: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    pass_env: Sequence[str]
    inherit_proxy: bool
    output_limit: int
    version: str | None
    max_starts: int
    max_processes: int | None
    heartbeat: float
    connect_timeout: float


@final
class SshRunner(RemoteRunner):
    """Runs the engine on another host, reached by OpenSSH's own program, with its configuration, agent and jumps.

    `SshRunner("build1")`. ssh asks nothing (BatchMode): the host's key must be known, and yours in an agent or a file.

    Args:
        host: As ssh takes it: a name of its configuration, `user@host`, `ssh://user@host:port`.
        options: Arguments for ssh: `["-F", "config", "-p", "2222"]`.
        rest: As for RemoteRunner.
    """

    def __init__(self, host: str, *, options: Sequence[str] = (), **rest: Unpack[RemoteOptions]) -> None:
        rest = hide_options(rest)
        super().__init__(SshLink(host, options), **rest)
