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
    "Live",
    "Plan",
    "Replayed",
    "Runner",
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
    "Live": "runners.live",
    "Plan": "runners.dry_run",
    "Replayed": "runners.live",
    "Runner": "runners.base",
    "SubprocessRunner": "runners.local.subprocess",
}

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, _MODULES, "smolkit")
