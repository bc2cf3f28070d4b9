"""What goes wrong with the engine itself."""

from __future__ import annotations

from smolkit.values.base_error import SmolvmError


class EngineNotFoundError(SmolvmError):
    """There is no smolvm program on this host."""

    hint = (
        "install smolvm, or `pip install 'smolkit[engine]'`, or name the program: Smolvm('/path/to/smolvm') or the "
        "variable SMOLKIT_SMOLVM"
    )


class ForeignProgramError(SmolvmError):
    """The program is called smolvm and is another product (PyPI's `smolvm` has no `machine` command)."""

    hint = "name the right one: Smolvm('/path/to/smolvm') or the variable SMOLKIT_SMOLVM"


class UnsupportedByEngineError(SmolvmError):
    """The engine has no such feature in its version; nothing was run.

    Attributes:
        feature: What was asked, for example `machine create --label`.
        needs: The version that has it (the first that was seen to).
        have: The engine's version.
    """

    hint = "install an engine of the version named, or do without"

    def __init__(self, feature: str, needs: str, have: str) -> None:
        super().__init__(f"{feature} needs smolvm {needs}; this engine is {have}")
        self.args: tuple[str, str, str] = (feature, needs, have)
        self.feature: str = feature
        self.needs: str = needs
        self.have: str = have


class UsageError(SmolvmError):
    """The engine's parser refused what smolkit said to it. That is a bug in smolkit, or an engine it does not know."""

    hint = "please report it with this text: smolkit built a command line that this engine does not take"


class OutcomeUnknownError(SmolvmError):
    """The engine did not come to an end of its own. What it had done by then is not known; nothing was tried again."""

    hint = "look at the machine with client.ls() before going on"


class EngineTimeoutError(OutcomeUnknownError):
    """The engine did not answer within smolkit's bound and was ended; what it had done by then is not known."""


class EngineDiedError(OutcomeUnknownError):
    """The engine was killed by a signal that smolkit did not send; what it had done by then is not known."""

    hint = "look at the machine with client.ls() before going on; was the host out of memory?"


class StatusLostError(OutcomeUnknownError):
    """The engine ended, and its exit status was lost: SIGCHLD is ignored here, or a handler of it reaps every child."""

    hint = "set SIGCHLD to signal.SIG_DFL, or let its handler wait for the pids of its own children only"


class EngineBusyError(SmolvmError):
    """The engine's database or a machine's directory was in use. The call had no effect and may be repeated."""

    hint = "try again in a moment"


class HostLimitError(EngineBusyError):
    """This host had no file descriptor, process or memory left to run the engine with. Nothing was run."""

    hint = "max_processes= of the client bounds how many of the engine's processes run at once; `ulimit -a` has the limits"


class ConfigError(SmolvmError):
    """The engine refused a setting that smolkit cannot check: a host that does not resolve, an image that is not there."""

    hint = "the engine's words say which setting; nothing was created or changed"


class SecretUnsetError(ConfigError):
    """A secret is read from a variable that is not set in the engine's environment (the engine's `env_unset`)."""

    summary = "the variable of this secret is not set in the engine's environment"
    hint = (
        "the engine gets only a few variables of this process: SubprocessRunner(pass_env=['NAME']) lets this one pass. For "
        "secrets of client.machine(secrets=...), use a handle that was made with them"
    )


class UnknownEngineError(SmolvmError):
    """The engine failed in a way that smolkit has no name for. All it said is here."""

    hint = "smolkit does not know this failure; please report it with this text"


class QueueTimeoutError(SmolvmError, TimeoutError):
    """The call did not get its turn in time (max_processes, max_starts, a host's first start). Nothing was run."""

    hint = "other calls have all places: a longer timeout=, more places, or popen()s that are ended"


class DeadlockError(SmolvmError, RuntimeError):
    """The call would wait for a place that calls have which wait for it. Nothing was run."""

    hint = "in a signal handler raise an exception, and call after it; in an event loop use AsyncSmolvm"
