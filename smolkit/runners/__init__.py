"""Runners, the only modules that know how a program is run, and all that you need to write your own.

Each module is imported when a name of it is asked for.
"""

from typing import TYPE_CHECKING

from smolkit.lazy import exports

if TYPE_CHECKING:
    from smolkit.runners.attempts import Attempt, InterruptedCall
    from smolkit.runners.base import AnyRunner, Runner
    from smolkit.runners.dry_run import DryRun, Plan
    from smolkit.runners.host import Host
    from smolkit.runners.live import Live, Replayed
    from smolkit.runners.local.subprocess import SubprocessRunner
    from smolkit.runners.remote.links import Link, SshLink, StdioLink
    from smolkit.runners.remote.runner import RemoteRunner
    from smolkit.runners.remote.ssh import SshRunner
    from smolkit.values.hidden import Hidden
    from smolkit.values.observed import Check
    from smolkit.values.ownership import Here
    from smolkit.values.results import Completed, Invocation

__all__ = [
    "AnyRunner",
    "Attempt",
    "Check",
    "Completed",
    "DryRun",
    "Here",
    "Hidden",
    "Host",
    "InterruptedCall",
    "Invocation",
    "Link",
    "Live",
    "Plan",
    "RemoteRunner",
    "Replayed",
    "Runner",
    "SshLink",
    "SshRunner",
    "StdioLink",
    "SubprocessRunner",
]
_MODULES = {
    "AnyRunner": "runners.base",
    "Attempt": "runners.attempts",
    "Check": "values.observed",
    "Completed": "values.results",
    "DryRun": "runners.dry_run",
    "Here": "values.ownership",
    "Hidden": "values.hidden",
    "Host": "runners.host",
    "InterruptedCall": "runners.attempts",
    "Invocation": "values.results",
    "Link": "runners.remote.links",
    "Live": "runners.live",
    "Plan": "runners.dry_run",
    "RemoteRunner": "runners.remote.runner",
    "Replayed": "runners.live",
    "Runner": "runners.base",
    "SshLink": "runners.remote.links",
    "SshRunner": "runners.remote.ssh",
    "StdioLink": "runners.remote.links",
    "SubprocessRunner": "runners.local.subprocess",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES, "smolkit")
