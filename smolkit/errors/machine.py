"""Errors of a machine."""

from __future__ import annotations

from smolkit.values.base_error import SmolvmError


class InvalidNameError(SmolvmError, ValueError):
    """Not a valid machine name.

    A name has 1 to 128 characters of A-Z a-z 0-9 _ -, begins with a letter or digit, has no `--` and does not end with `-`.
    """

    hint = "client.machine() without a name picks a fresh one"


class MachineNotFoundError(SmolvmError):
    """No machine has that name."""

    hint = "client.ls() lists the machines; is this the right state directory (HOME, SMOLVM_DATA_DIR)?"


class MachineExistsError(SmolvmError):
    """A machine with that name exists, or is being created. It was not touched."""

    hint = "client.machine() without a name picks a fresh one"


class MachineHasBranchesError(SmolvmError):
    """Other machines were branched from this one, and their disks depend on it. It was not deleted."""

    hint = "delete the branches first, or all at once: machine.delete(cascade=True)"


class MachineReplacedError(SmolvmError):
    """The machine that this handle made is gone, and another one has its name. That one was not touched."""

    hint = "client.machine(name) returns a handle for the machine that has the name now"


class MachineNotRunningError(SmolvmError):
    """The machine exists but does not run, or does not answer: it is stopped or paused, or its agent is gone."""

    hint = "machine.start() boots it; `with client.machine(...)` does so by itself"


class MachineRunningError(SmolvmError):
    """The machine runs, and the operation needs a stopped one. Nothing was changed."""

    hint = "call machine.stop() first"


class MachineNeverStartedError(SmolvmError):
    """The machine was never started, so it has no disks yet to resize or pack. Nothing was changed."""

    summary = "the machine has no disks before its first start"
    hint = "pass storage= and overlay= to client.machine() before create(), or start and stop the machine first"


class WaitTimeoutError(SmolvmError, TimeoutError):
    """The condition of `wait_until` did not come true in time. Notes have the end of the machine's logs."""

    hint = "exec(['ps']) shows what runs in the machine; timeout= allows more time"


class CleanupError(SmolvmError):
    """A machine created by a `with` block could not be removed. The message names it; `__cause__` has the reason."""

    hint = "client.machine(name).delete() tries again; client.ls() lists the machines"


class PolicyNotRecordedError(SmolvmError):
    """The engine recorded another network policy than the one asked for. The machine was deleted before it ever ran."""

    hint = "do not leave the policy out to get around this; report it with the engine's version"


class StartError(SmolvmError):
    """The machine did not start."""


class HypervisorUnavailableError(StartError):
    """The engine can use no hypervisor on this host."""

    summary = "this host cannot boot microVMs"

    hint = (
        "microVMs need KVM: does /dev/kvm exist, and may this user (and the user that the engine's VMs run as) open it? "
        "client.doctor() checks"
    )


class PortInUseError(StartError):
    """A port that the machine should publish is in use on the host, perhaps by another machine."""

    hint = "client.free_port() finds a port for ports=[(port, 80)]; machine.update(remove_ports=..., ports=...) changes it"


class BootFailedError(StartError):
    """The VM was started, but its agent did not answer. A note has the end of its console log, if there is one."""

    summary = "the machine did not boot"

    hint = "an overloaded host can cause this: try again; SMOLVM_START_TIMEOUT_SECS (engine >= 1.13.1) allows more time"


class StartInProgressError(StartError):
    """Another process is starting this machine, or already runs it."""

    hint = "wait until the other start has finished; then start() returns at once"
