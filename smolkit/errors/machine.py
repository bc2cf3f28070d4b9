"""What goes wrong with a machine."""

from __future__ import annotations

from smolkit.values.base_error import SmolvmError


class InvalidNameError(SmolvmError, ValueError):
    """Not a name that the engine takes: 1 to 128 of A-Z a-z 0-9 _ -, a letter or digit first, no `--`, no `-` last."""

    hint = "client.machine() without a name makes a fresh one"


class MachineNotFoundError(SmolvmError):
    """There is no machine of that name."""

    hint = "client.ls() lists the machines; is the state directory (HOME, SMOLVM_DATA_DIR) the one you mean?"


class MachineExistsError(SmolvmError):
    """A machine of that name exists, or is being created. It was not touched."""

    hint = "client.machine() without a name makes a fresh one"


class MachineHasBranchesError(SmolvmError):
    """Other machines were branched from it, and their disks depend on it. It was not deleted."""

    hint = "delete those first, or all of them at once: machine.delete(cascade=True)"


class MachineReplacedError(SmolvmError):
    """The machine that the handle made is gone, and another has its name. That one was not touched."""

    hint = "client.machine(name) is a fresh handle, for whatever machine has the name now"


class MachineNotRunningError(SmolvmError):
    """The machine exists and does not answer: created, stopped, paused, or its agent is gone."""

    hint = "machine.start() boots it; `with client.machine(...)` does so by itself"


class MachineRunningError(SmolvmError):
    """The machine runs, and what was asked can be done only to one that does not. Nothing was changed."""

    hint = "machine.stop() first"


class MachineNeverStartedError(SmolvmError):
    """The machine was never started, and so has no disks yet: they cannot be resized or packed. Nothing was changed."""

    summary = "the machine has no disks before its first start"
    hint = (
        "give storage= and overlay= to client.machine() before it is created; or machine.start() and machine.stop() first"
    )


class WaitTimeoutError(SmolvmError, TimeoutError):
    """What `wait_until` waited for did not come true in time. Notes carry the end of the machine's logs."""

    hint = "look into the machine: exec(['ps']) shows what runs there; timeout= gives it longer"


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


class PortInUseError(StartError):
    """Something on the host, perhaps another machine, has a port that this machine was to publish."""

    hint = "client.free_port() finds a port for ports=[(port, 80)]; machine.update(remove_ports=..., ports=...) changes it"


class BootFailedError(StartError):
    """The VM was started and its agent did not answer. A note carries the end of its console log, where there is one."""

    summary = "the machine did not boot"

    hint = "a starved host can cause this: try again; SMOLVM_START_TIMEOUT_SECS (engine >= 1.13.1) gives it longer"


class StartInProgressError(StartError):
    """Another process is starting this machine, or runs it."""

    hint = "wait for the other start to end; then start() answers at once"
