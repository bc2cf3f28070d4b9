"""All errors that smolkit raises about an engine, a machine or a command in it.

SmolvmError
├── EngineNotFoundError          there is no smolvm program on this host
├── ForeignProgramError          the `smolvm` program is another product
├── UnsupportedByEngineError     this engine version lacks the feature
├── UsageError                   the engine rejected the command line: a bug in smolkit
├── OutcomeUnknownError          the engine did not finish by itself
│   ├── EngineTimeoutError       it did not answer in time and was killed (also a TimeoutError)
│   ├── EngineDiedError          it was killed by a signal
│   ├── StatusLostError          other code in this program took its exit status
│   ├── HostLostError            the link to the engine's host was lost
│   ├── EngineOutputLimitError   it wrote too much and was killed (also an OutputLimitError)
│   └── ExecOutcomeUnknownError  the guest's command may still run (also an ExecTimeoutError)
├── HostUnreachableError         the engine's host cannot be reached; nothing was run
├── QueueTimeoutError            the call waited too long for its turn; nothing was run (also a TimeoutError)
├── DeadlockError                the call would wait for itself; nothing was run (also a RuntimeError)
├── EngineBusyError              a lock or a directory was in use; the call had no effect
│   └── HostLimitError           this host was out of descriptors, processes or memory
├── InvalidNameError             not a valid machine name (also a ValueError)
├── ConfigError                  the engine refused a setting: an image, a host name, a mount, a user
│   └── SecretUnsetError         a secret's variable is not set for the engine
├── CopyError                    cp could not read its source or write its target
│   ├── CopyNotFoundError        (also a GuestFileNotFoundError)
│   └── CopyIsADirectoryError    (also a GuestIsADirectoryError)
├── MachineNotFoundError         no machine has that name
├── MachineExistsError           a machine has that name already
├── MachineHasBranchesError      other machines' disks depend on it
├── MachineReplacedError         another machine has the name now
├── MachineNotRunningError       it does not run, or does not answer
├── MachineRunningError          it runs, and the operation needs a stopped one
├── MachineNeverStartedError     it has no disks yet that could be resized or packed
├── WaitTimeoutError             the condition did not come true in time (also a TimeoutError)
├── CleanupError                 a machine could not be removed
├── PolicyNotRecordedError       the engine did not record the network policy as asked
├── StartError                   the machine did not start
│   ├── HypervisorUnavailableError   no usable KVM on this host
│   ├── BootFailedError              the VM did not come up
│   ├── PortInUseError           a port to publish is in use
│   └── StartInProgressError         another process is starting the machine
├── ExecError                    a command in the guest failed
│   ├── CommandFailedError       it exited with a non-zero status, and `check=True`
│   ├── ProgramNotFoundError     the guest has no such program
│   ├── WorkdirNotFoundError     the guest has no such working directory
│   ├── ProgramNotExecutableError    the guest may not execute that file
│   ├── ExecTimeoutError         it did not end in time (also a TimeoutError)
│   ├── OutputLimitError         it wrote too much
│   └── ConnectionLostError      the machine went away while it ran
├── GuestFileError               an operation on a guest file failed (also an OSError)
│   ├── GuestFileNotFoundError       (also a FileNotFoundError)
│   ├── GuestFileExistsError         (also a FileExistsError)
│   ├── GuestIsADirectoryError       (also an IsADirectoryError)
│   ├── GuestNotADirectoryError      (also a NotADirectoryError)
│   ├── GuestPermissionError         (also a PermissionError)
│   └── GuestDirectoryNotEmptyError
├── TaskLostError                a fleet lost a task of `map`; the failure is not its function's
├── TaskTimeoutError             a task of `map` took too long (also a TimeoutError)
├── UnsafeArchiveError           a download would write outside its directory, or is malformed
└── UnknownEngineError           a failure that smolkit does not know; it has all output

An invalid argument (a wrong type, an empty command, a negative timeout) is a plain TypeError or ValueError, raised before
any process starts.
"""

from typing import TYPE_CHECKING

from smolkit.errors.engine import (
    ConfigError,
    DeadlockError,
    EngineBusyError,
    EngineDiedError,
    EngineNotFoundError,
    EngineTimeoutError,
    ForeignProgramError,
    HostLimitError,
    HostLostError,
    HostUnreachableError,
    OutcomeUnknownError,
    QueueTimeoutError,
    SecretUnsetError,
    StatusLostError,
    UnknownEngineError,
    UnsupportedByEngineError,
    UsageError,
)
from smolkit.errors.execution import (
    ConnectionLostError,
    EngineOutputLimitError,
    ExecOutcomeUnknownError,
    ExecTimeoutError,
    OutputLimitError,
    ProgramNotExecutableError,
    ProgramNotFoundError,
    WorkdirNotFoundError,
)
from smolkit.errors.files import (
    CopyError,
    CopyIsADirectoryError,
    CopyNotFoundError,
    GuestDirectoryNotEmptyError,
    GuestFileError,
    GuestFileExistsError,
    GuestFileNotFoundError,
    GuestIsADirectoryError,
    GuestNotADirectoryError,
    GuestPermissionError,
    UnsafeArchiveError,
)
from smolkit.errors.machine import (
    BootFailedError,
    CleanupError,
    HypervisorUnavailableError,
    InvalidNameError,
    MachineExistsError,
    MachineHasBranchesError,
    MachineNeverStartedError,
    MachineNotFoundError,
    MachineNotRunningError,
    MachineReplacedError,
    MachineRunningError,
    PolicyNotRecordedError,
    PortInUseError,
    StartError,
    StartInProgressError,
    WaitTimeoutError,
)
from smolkit.errors.notes import add_note
from smolkit.errors.tasks import TaskLostError, TaskTimeoutError
from smolkit.lazy import exports
from smolkit.values.base_error import ExecError, SmolvmError
from smolkit.values.shown import tail

if TYPE_CHECKING:
    from smolkit.values.exec_result import CommandFailedError

__all__ = [
    "BootFailedError",
    "CleanupError",
    "CommandFailedError",
    "ConfigError",
    "ConnectionLostError",
    "CopyError",
    "CopyIsADirectoryError",
    "CopyNotFoundError",
    "DeadlockError",
    "EngineBusyError",
    "EngineDiedError",
    "EngineNotFoundError",
    "EngineOutputLimitError",
    "EngineTimeoutError",
    "ExecError",
    "ExecOutcomeUnknownError",
    "ExecTimeoutError",
    "ForeignProgramError",
    "GuestDirectoryNotEmptyError",
    "GuestFileError",
    "GuestFileExistsError",
    "GuestFileNotFoundError",
    "GuestIsADirectoryError",
    "GuestNotADirectoryError",
    "GuestPermissionError",
    "HostLimitError",
    "HostLostError",
    "HostUnreachableError",
    "HypervisorUnavailableError",
    "InvalidNameError",
    "MachineExistsError",
    "MachineHasBranchesError",
    "MachineNeverStartedError",
    "MachineNotFoundError",
    "MachineNotRunningError",
    "MachineReplacedError",
    "MachineRunningError",
    "OutcomeUnknownError",
    "OutputLimitError",
    "PolicyNotRecordedError",
    "PortInUseError",
    "ProgramNotExecutableError",
    "ProgramNotFoundError",
    "QueueTimeoutError",
    "SecretUnsetError",
    "SmolvmError",
    "StartError",
    "StartInProgressError",
    "StatusLostError",
    "TaskLostError",
    "TaskTimeoutError",
    "UnknownEngineError",
    "UnsafeArchiveError",
    "UnsupportedByEngineError",
    "UsageError",
    "WaitTimeoutError",
    "WorkdirNotFoundError",
    "add_note",
    "tail",
]

if not TYPE_CHECKING:  # a type checker would take it for a module that has every name
    __getattr__, __dir__ = exports(__name__, {"CommandFailedError": "values.exec_result"}, "smolkit")
