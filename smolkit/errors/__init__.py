"""Every error that smolkit raises for an engine, a machine or a command in it.

SmolvmError
├── EngineNotFoundError          no smolvm program on this host
├── ForeignProgramError          a `smolvm` program of another product
├── UnsupportedByEngineError     this engine is too old (or too new) for what was asked
├── UsageError                   the engine did not understand smolkit: a bug in smolkit
├── OutcomeUnknownError          the engine did not come to an end of its own
│   ├── EngineTimeoutError       it did not answer in time and was ended
│   ├── EngineDiedError          it was killed by a signal
│   ├── StatusLostError          other code of this program took its exit status
│   ├── EngineOutputLimitError   (also an OutputLimitError) it wrote too much and was ended
│   └── ExecOutcomeUnknownError  (also an ExecTimeoutError) nor did the guest's command, as far as is known
├── QueueTimeoutError            the call did not get its turn in time; nothing was run (also a TimeoutError)
├── DeadlockError                it would wait for itself; nothing was run (also a RuntimeError)
├── EngineBusyError              a lock or a directory was in use; the call had no effect
│   └── HostLimitError           this host had no descriptor, process or memory left for the engine
├── InvalidNameError             not a machine name (also a ValueError)
├── ConfigError                  the engine refused a setting: an image, a host name, a mount, a user
│   └── SecretUnsetError         a secret's variable is not set where the engine runs
├── CopyError                    cp could not read the one file or write the other
│   ├── CopyNotFoundError        (also a GuestFileNotFoundError)
│   └── CopyIsADirectoryError    (also a GuestIsADirectoryError)
├── MachineNotFoundError
├── MachineExistsError
├── MachineHasBranchesError      other machines' disks depend on it
├── MachineReplacedError         the name is another machine's by now
├── MachineNotRunningError
├── MachineRunningError
├── MachineNeverStartedError     it has no disks yet to be resized or packed
├── WaitTimeoutError             what was waited for did not come (also a TimeoutError)
├── CleanupError                 a machine could not be removed, and is left
├── PolicyNotRecordedError       the engine did not record the network policy that was asked
├── StartError
│   ├── HypervisorUnavailableError   no usable KVM
│   ├── BootFailedError              the VM did not come up
│   ├── PortInUseError           a port to be published is another's
│   └── StartInProgressError         another process is starting it
├── ExecError
│   ├── CommandFailedError       `check=True` and the guest's exit status was not 0
│   ├── ProgramNotFoundError     the guest has no such program (or no such workdir)
│   ├── ProgramNotExecutableError
│   ├── ExecTimeoutError
│   ├── OutputLimitError
│   └── ConnectionLostError      the machine went away under the command
├── GuestFileError               a file of the guest is not as it has to be (also an OSError)
│   ├── GuestFileNotFoundError       (also a FileNotFoundError)
│   ├── GuestFileExistsError         (also a FileExistsError)
│   ├── GuestIsADirectoryError       (also an IsADirectoryError)
│   ├── GuestNotADirectoryError      (also a NotADirectoryError)
│   ├── GuestPermissionError         (also a PermissionError)
│   └── GuestDirectoryNotEmptyError
├── UnsafeArchiveError           what a guest sent for a download would leave its folder
└── UnknownEngineError           a failure that smolkit has no name for; nothing is dropped

An argument that cannot be right (a wrong type, an empty command, a negative timeout) is a plain TypeError or ValueError,
raised before any process starts.
"""

from smolkit.errors.engine import (
    ConfigError,
    DeadlockError,
    EngineBusyError,
    EngineDiedError,
    EngineNotFoundError,
    EngineTimeoutError,
    ForeignProgramError,
    HostLimitError,
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
from smolkit.values.base_error import SmolvmError
from smolkit.values.exec_result import CommandFailedError, ExecError
from smolkit.values.shown import tail

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
    "UnknownEngineError",
    "UnsafeArchiveError",
    "UnsupportedByEngineError",
    "UsageError",
    "WaitTimeoutError",
    "add_note",
    "tail",
]
