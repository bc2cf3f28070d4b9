"""Errors of the engine itself."""

from __future__ import annotations

from smolkit.values.base_error import LateError, SmolvmError


class EngineNotFoundError(SmolvmError):
    """There is no smolvm program on this host."""

    hint = (
        "install smolvm, or `pip install 'smolkit[engine]'`, or name the program: Smolvm('/path/to/smolvm') or the "
        "environment variable SMOLKIT_SMOLVM"
    )


class ForeignProgramError(SmolvmError):
    """The `smolvm` program is another product: PyPI's `smolvm` has no `machine` command."""

    hint = "name the right program: Smolvm('/path/to/smolvm') or the environment variable SMOLKIT_SMOLVM"


class UnsupportedByEngineError(SmolvmError):
    """The engine's version lacks the feature. Nothing was run.

    Attributes:
        feature: The missing feature, for example `machine create --label`.
        needs: The first version that is known to have it.
        have: The engine's version.
    """

    hint = "install that version of the engine, or leave the option out"

    def __init__(self, feature: str, needs: str, have: str) -> None:
        super().__init__(f"{feature} needs smolvm {needs}; this engine is {have}")
        self.args: tuple[str, str, str] = (feature, needs, have)
        self.feature: str = feature
        self.needs: str = needs
        self.have: str = have


class UsageError(SmolvmError):
    """The engine rejected smolkit's command line: a bug in smolkit, or an engine version that it does not know."""

    hint = "please report this text: smolkit built a command line that this engine rejects"


class OutcomeUnknownError(SmolvmError):
    """The engine did not finish by itself. What it had done by then is unknown; nothing was retried."""

    hint = "check the machine with client.ls() before you go on"


class EngineTimeoutError(OutcomeUnknownError, LateError):
    """The engine did not answer within smolkit's time limit and was killed. What it had done by then is unknown."""


class EngineDiedError(OutcomeUnknownError):
    """The engine was killed by a signal that smolkit did not send. What it had done by then is unknown."""

    hint = "check the machine with client.ls() before you go on; was the host out of memory?"


class StatusLostError(OutcomeUnknownError):
    """The engine exited, but its exit status is lost: SIGCHLD is ignored, or a handler reaps all child processes."""

    hint = "set SIGCHLD to signal.SIG_DFL, or make its handler wait for the pids of its own child processes only"


class HostLostError(OutcomeUnknownError):
    """The link to the engine's host was lost during the call. What the engine had done by then is unknown.

    The far end ends the commands that ran there, and removes the machines that were made over this link. The next call
    opens a new one.
    """

    hint = "check the machine with client.ls() before you go on: that call opens a new link"


class HostUnreachableError(SmolvmError):
    """The engine's host cannot be reached, or is not the one that it was. Nothing was run."""

    hint = "can the link be used by hand: `ssh HOST true`? The host needs sh and Python 3.11 or later"


class EngineBusyError(SmolvmError):
    """The engine's database or a machine's directory was in use. The call had no effect and can be repeated."""

    hint = "try again in a moment"


class HostLimitError(EngineBusyError):
    """This host was out of file descriptors, processes or memory, so the engine could not be started. Nothing was run."""

    hint = "Smolvm(max_processes=...) limits how many engine processes run at once; `ulimit -a` shows this host's limits"


class ConfigError(SmolvmError):
    """The engine refused a setting that smolkit cannot check: a host name that does not resolve, a missing image."""

    hint = "the engine's message says which setting; nothing was created or changed"


class SecretUnsetError(ConfigError):
    """A secret refers to a variable that is not set in the engine's environment (the engine's `env_unset`)."""

    summary = "the variable of this secret is not set in the engine's environment"
    hint = (
        "the engine gets only a few variables of this process: add this one with SubprocessRunner(pass_env=['NAME']). For "
        "client.machine(secrets=...), use a handle that was made with these secrets"
    )


class UnknownEngineError(SmolvmError):
    """The engine failed in a way that smolkit does not know. The error has all of its output."""

    hint = "smolkit does not know this failure; please report this text"


class QueueTimeoutError(LateError):
    """The call waited too long for its turn (max_processes, max_starts, a host's first start). Nothing was run."""

    hint = "other calls took all slots: give it a longer timeout, allow more slots, or end processes of popen()"


class DeadlockError(SmolvmError, RuntimeError):
    """The call would wait for a slot that is held by a call waiting for this one. Nothing was run."""

    hint = "in a signal handler, raise an exception and make the call after it; in an event loop, use AsyncSmolvm"
