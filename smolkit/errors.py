"""Every error that smolkit raises for an engine, a machine or a command in it.

SmolvmError
├── EngineNotFoundError          no smolvm program on this host
├── ForeignProgramError          a `smolvm` program of another product
├── UnsupportedByEngineError     this engine is too old (or too new) for what was asked
├── UsageError                   the engine did not understand smolkit: a bug in smolkit
├── OutcomeUnknownError          the engine did not come to an end of its own
│   ├── EngineTimeoutError       it did not answer in time and was ended
│   ├── EngineDiedError          it was killed by a signal
│   └── ExecOutcomeUnknownError  (also an ExecTimeoutError) nor did the guest's command, as far as is known
├── EngineBusyError              a lock or a directory was in use; the call had no effect
├── InvalidNameError             not a machine name (also a ValueError)
├── ConfigError                  the engine refused a setting: an image, a host name, a mount, a user
├── CopyError                    cp could not read the one file or write the other
├── MachineNotFoundError
├── MachineExistsError
├── MachineHasBranchesError      other machines' disks depend on it
├── MachineNotRunningError
├── CleanupError                 a machine could not be removed, and is left
├── PolicyNotRecordedError       the engine did not record the network policy that was asked
├── StartError
│   ├── HypervisorUnavailableError   no usable KVM
│   ├── BootFailedError              the VM did not come up
│   └── StartInProgressError         another process is starting it
├── ExecError
│   ├── CommandFailedError       `check=True` and the guest's exit status was not 0
│   ├── ProgramNotFoundError     the guest has no such program (or no such workdir)
│   ├── ProgramNotExecutableError
│   ├── ExecTimeoutError
│   ├── OutputLimitError
│   └── ConnectionLostError      the machine went away under the command
└── UnknownEngineError           a failure that smolkit has no name for; nothing is dropped

An argument that cannot be right (a wrong type, an empty command, a negative timeout) is a plain TypeError or ValueError,
raised before any process starts.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smolkit.values import Completed, ExecResult

_TAIL_LINES = 12
_TAIL_CHARACTERS = 2000


def tail(output: bytes) -> str:
    """The last lines of a program's output, safe to print.

    Guests are hostile: control characters (a terminal's escapes) come out as `\\x1b`, and length is bounded.
    """
    text = output[-4 * _TAIL_CHARACTERS :].decode("utf-8", "replace").strip()
    lines = text[-_TAIL_CHARACTERS:].splitlines()[-_TAIL_LINES:]
    return "\n".join("".join(c if c.isprintable() or c == "\t" else ascii(c)[1:-1] for c in line) for line in lines)


class SmolvmError(Exception):
    """The root of the tree, and the evidence: what failed, the command line (values of env hidden), exit status, output.

    Attributes:
        message: What failed, in one line; the engine's own words where it has any.
        completed: The call that failed, or None where no process was started.
        hint: What to do next.
        summary: What it means, for failures that the engine's own words do not explain.
    """

    hint: str = ""
    summary: str = ""

    def __init__(self, message: str, completed: Completed | None = None) -> None:
        self.message = message
        self.completed = completed and completed.redacted()
        super().__init__(self.message, self.completed)

    @property
    def argv(self) -> tuple[str, ...]:
        """The engine's arguments, values of env hidden; empty where no process was started."""
        return self.completed.argv if self.completed else ()

    @property
    def returncode(self) -> int | None:
        """The engine's exit status (negative: killed by that signal), or None where no process was started."""
        return self.completed.returncode if self.completed else None

    @property
    def stdout(self) -> str:
        """What the engine wrote on standard output, as text."""
        return self.completed.stdout.decode("utf-8", "replace") if self.completed else ""

    @property
    def stderr(self) -> str:
        """What the engine wrote on standard error, as text."""
        return self.completed.stderr.decode("utf-8", "replace") if self.completed else ""

    def __str__(self) -> str:
        lines = [tail(self.message.encode())]
        if self.completed:
            lines += [f"  command: {shlex.join(('smolvm', *self.argv))}", f"  exit status: {self.returncode}"]
            # The line that the message was taken from would say it twice.
            said = [line for line in tail(self.completed.stderr).splitlines() if not line.startswith('{"error":{')]
            lines += ["  stderr:", *(f"    {line}" for line in said if line != f"Error: {self.message}")] if said else []
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


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
        self.args = (feature, needs, have)
        self.feature, self.needs, self.have = feature, needs, have


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


class EngineBusyError(SmolvmError):
    """The engine's database or a machine's directory was in use. The call had no effect and may be repeated."""

    hint = "try again in a moment"


class InvalidNameError(SmolvmError, ValueError):
    """Not a name that the engine takes: 1 to 128 of A-Z a-z 0-9 _ -, a letter or digit first, no `--`, no `-` last."""

    hint = "client.machine() without a name makes a fresh one"


class ConfigError(SmolvmError):
    """The engine refused a setting that smolkit cannot check: a host that does not resolve, an image that is not there."""

    hint = "the engine's words say which setting; nothing was created or changed"


class CopyError(SmolvmError):
    """cp could not read its source or write its target. A file that was there on the host is untouched."""

    hint = "cp copies one regular file to a full file name; directories go through tar and exec"


class MachineNotFoundError(SmolvmError):
    """There is no machine of that name."""

    hint = "client.ls() lists the machines; is the state directory (HOME, SMOLVM_DATA_DIR) the one you mean?"


class MachineExistsError(SmolvmError):
    """A machine of that name exists, or is being created. It was not touched."""

    hint = "client.machine() without a name makes a fresh one"


class MachineHasBranchesError(SmolvmError):
    """Other machines were branched from it, and their disks depend on it. It was not deleted."""

    hint = "delete those first, or all of them at once: machine.delete(cascade=True)"


class MachineNotRunningError(SmolvmError):
    """The machine exists and does not answer: created, stopped, paused, or its agent is gone."""

    hint = "machine.start() boots it; `with client.machine(...)` does so by itself"


class CleanupError(SmolvmError):
    """The machine that a `with` made could not be removed. The message names it; `__cause__` is why."""

    hint = "client.machine(name).delete() tries again; client.ls() shows what is there"


class PolicyNotRecordedError(SmolvmError):
    """The engine recorded another network policy than was asked. The machine was deleted: it never ran without it."""

    hint = "do not work around this by leaving the policy out; report it with the engine's version"


class StartError(SmolvmError):
    """The machine did not start."""


class HypervisorUnavailableError(StartError):
    """The host has no hypervisor that the engine may use."""

    summary = "this host boots no microVMs"

    hint = (
        "microVMs need KVM: does /dev/kvm exist, and may this user (and the user that the engine's VMs run as) open it? "
        "client.doctor() looks"
    )


class BootFailedError(StartError):
    """The VM was started and its agent did not answer. A note carries the end of its console log, where there is one."""

    summary = "the machine did not boot"

    hint = "a starved host can cause this: try again; SMOLVM_START_TIMEOUT_SECS (engine >= 1.13.1) gives it longer"


class StartInProgressError(StartError):
    """Another process is starting this machine, or runs it."""

    hint = "wait for the other start to end; then start() answers at once"


class ExecError(SmolvmError):
    """A command in the guest could not be run to its end."""


class CommandFailedError(ExecError):
    """The command ran, and its exit status was not 0 (`check=True`).

    Attributes:
        result: The whole ExecResult.
    """

    def __init__(self, result: ExecResult) -> None:
        super().__init__(f"the guest's command exited with status {result.returncode}: {shlex.join(result.args)}")
        self.args = (result,)
        self.result = result

    @property
    def returncode(self) -> int:
        """The guest's exit status (128 + N: killed by signal N)."""
        return self.result.returncode

    @property
    def stdout(self) -> str:
        """The command's standard output, as text."""
        return self.result.stdout

    @property
    def stderr(self) -> str:
        """The command's standard error, as text."""
        return self.result.stderr

    def __str__(self) -> str:
        said = tail(self.result.stderr_bytes) or tail(self.result.stdout_bytes)
        return "\n".join([tail(self.message.encode()), *(f"    {line}" for line in said.splitlines())])


class ProgramNotFoundError(ExecError):
    """The guest has no such program, or no such working directory: a bare machine's agent does not say which."""

    summary = "the guest has no such program, or no such workdir"

    hint = "is the program installed in the guest, and does workdir (if given) exist there?"


class ProgramNotExecutableError(ExecError):
    """The guest has that file and may not execute it."""

    summary = "the guest may not execute that file"

    hint = "chmod +x it in the guest, or run it with its interpreter"


class ExecTimeoutError(ExecError):
    """The command did not end in time. `stdout` and `stderr` hold what it had written by then.

    Attributes:
        timeout: The bound that was given, in seconds.
        guest_ended: Whether the engine's own timer ended the command. False: smolkit's host-side bound had to end the
            engine, and whether the command still runs in the guest is not known.
    """

    def __init__(self, message: str, completed: Completed, timeout: float, guest_ended: bool) -> None:
        super().__init__(message, completed)
        self.args = (message, self.completed, timeout, guest_ended)
        self.timeout, self.guest_ended = timeout, guest_ended


class ExecOutcomeUnknownError(ExecTimeoutError, OutcomeUnknownError):
    """Neither the guest's timer nor the engine ended the command in time: smolkit ended the engine. It may still run."""

    hint = "the command may still run in the guest: machine.stop() ends it for sure"


class OutputLimitError(ExecError):
    """The command wrote more than may be kept in memory. `stdout` and `stderr` hold what there is of it."""

    hint = "let the command write to a file in the guest and cp it, or raise SubprocessRunner(output_limit=...)"


class ConnectionLostError(ExecError):
    """The machine was stopped, deleted or killed while the command ran in it."""

    summary = "the machine went away under the command"
    hint = "start it again if it is still wanted; its console log may say why it ended"


class UnknownEngineError(SmolvmError):
    """The engine failed in a way that smolkit has no name for. All it said is here."""

    hint = "smolkit does not know this failure; please report it with this text"
