"""Recorded stderr of real engines, and the failure it stands for. At least one row for each phrase of commands.failures."""

from __future__ import annotations

from smolkit import errors

NOTE = (
    "note: no packed assets found for 'smol-vmm' (looked for a 'smol-vmm.smolmachine' sidecar next to the executable); "
    "running as the plain smolvm CLI. If this is a packed binary, keep its .smolmachine file alongside it.\n"
)
_NOT_RUNNING = (
    "agent operation failed: connect: machine 'm1' is not running. Start it with 'smolvm machine start --name m1'; "
    "if a start is already in progress, retry once it finishes."
)
_KVM = (
    "agent operation failed: start machine: agent operation failed: monitor agent: Then log out and log back in for the "
    "change to take effect.); libkrun detail: build microVM: Internal error while starting microVM: "
    "KvmContext(KvmOpen(Error(13))) (boot process exited (code 1) before the agent was ready)"
)
_RESET = "Error: io operation failed: Connection reset by peer (os error 104)\n"
_NO_MEMFD = (
    "Error: agent operation failed: fork: golden FORK failed: "
    "ERR EINVAL no memfd-backed RAM (start the golden VM with SMOLVM_FORKABLE=1)\n"
)
_NO_SOCKET = (
    "Error: agent operation failed: fork: golden 'm1' control socket not responding (agent operation failed: connect "
    "control socket: Connection refused (os error 111)); start it with `machine start --forkable --name m1`\n"
)
_NOT_FORKABLE = (
    "Error: agent operation failed: fork: golden 'm1' is not running forkable; "
    "start it with `machine start --forkable --name m1`\n"
)
_START = "agent operation failed: start machine: agent operation failed: monitor agent:"
_END = "agent was ready)\n"
_KVM_PERMISSION = (
    "agent operation failed: start machine: kvm permission denied: Cannot access /dev/kvm (permission denied).\\n"
    "Add your user to the 'kvm' group"
)

_NO_DISK = (
    "storage operation failed: expand storage disk: storage operation failed: open disk: No such file or directory "
    "(os error 2)"
)
_PROGRESS = "\rDownloading /tmp/a.txt -> ./d: 3 B (67 B/s)"
_NOISE = (
    "Starting ephemeral machine (vm-9e6ce89f)...\n"
    "\x1b[2m2026-11-22T11:11:03.998240Z\x1b[0m \x1b[33m WARN\x1b[0m VMM killed by SIGTERM pid=12316 cause=Killed\n"
)


def as_json(code: str, message: str) -> str:
    """Return a failure in the JSON that engines from 1.28.1 on write on request."""
    return f'{{"error":{{"code":"{code}","message":"{message}"}}}}\n'


# (engine version, how it was provoked, stderr, the failure)
RECORDED: list[tuple[str, str, str, type[errors.SmolvmError]]] = [
    ("1.32.2", "start missing", as_json("NOT_FOUND", "vm not found: nope"), errors.MachineNotFoundError),
    ("1.4.0", "start missing", "Error: vm not found: nope\n", errors.MachineNotFoundError),
    (
        "1.32.2",
        "update running",
        as_json("INVALID_STATE", "invalid vm state: expected stopped, got Running"),
        errors.MachineRunningError,
    ),
    (
        "1.32.2",
        "branch of one that is not branchable",
        as_json(
            "SMOLVM_ERROR",
            "agent operation failed: fork: machine 'a' was not started as branchable, so it has no copy-on-write memory to "
            "branch from. Restart it with `smolvm machine start --name a --branchable`; branchability is decided at start "
            "time and cannot be turned on for an already-running machine.",
        ),
        errors.ConfigError,
    ),
    (
        "1.8.3",
        "fork of a machine that was not started as forkable",
        "Freezing golden 'm1' as fork base...\n" + _NO_MEMFD,
        errors.ConfigError,
    ),
    (
        "1.8.3",
        "run, the VM died",
        "Starting ephemeral machine (vm-db4dbe9a)...\n" + _RESET,
        errors.ConnectionLostError,
    ),
    (
        "1.20.2",
        "branch of a machine whose VM died",
        "Preparing branch from 'm1'...\n" + _NO_SOCKET,
        errors.MachineNotRunningError,
    ),
    (
        "1.8.3",
        "fork of a machine that does not run",
        "Freezing golden 'm1' as fork base...\n" + _NOT_FORKABLE,
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "start with a port that another machine has",
        as_json(
            "CONFIG_ERROR",
            "config operation failed: start machine: host port 18080 is already in use by running machine 'a'",
        ),
        errors.PortInUseError,
    ),
    (
        "1.32.2",
        "start with a port that another program has",
        "Starting machine 'p' and 1 port mapping(s)...\n"
        + as_json(
            "SMOLVM_ERROR",
            "agent operation failed: start machine: agent operation failed: monitor agent: Error: agent operation failed: "
            "configure virtio-net: failed to start virtio network runtime: cannot publish host TCP 127.0.0.1:18099 to "
            "guest TCP 80: Address already in use (os error 98) (boot process exited (code 1) before the agent was ready)",
        ),
        errors.PortInUseError,
    ),
    (
        "1.32.2",
        "status --json missing",
        as_json("CONFIG_ERROR", "config operation failed: machine status: machine 'nope' not found"),
        errors.MachineNotFoundError,
    ),
    (
        "1.4.0",
        "update missing",
        "Error: config operation failed: update: machine 'nope' not found\n",
        errors.MachineNotFoundError,
    ),
    (
        "1.32.2",
        "create dup",
        as_json("CONFIG_ERROR", "config operation failed: create machine: machine 'm1' already exists or is being created"),
        errors.MachineExistsError,
    ),
    (
        "1.4.0",
        "create dup",
        NOTE + "Error: config operation failed: create machine: machine 'm1' already exists or is being created\n",
        errors.MachineExistsError,
    ),
    (
        "1.32.2",
        "delete -f of a running machine that was branched",
        as_json(
            "SMOLVM_ERROR",
            "agent operation failed: delete: machine 'g' is the fork base for 1 clone(s) (c1); delete the clones first "
            "or use --cascade to remove them too",
        ),
        errors.MachineHasBranchesError,
    ),
    ("1.32.2", "exec stopped", as_json("SMOLVM_ERROR", _NOT_RUNNING), errors.MachineNotRunningError),
    (
        "1.9.1",
        "exec stopped",
        "Error: agent operation failed: connect: machine 't' is not running. Use 'smolvm machine start --name t' first.\n",
        errors.MachineNotRunningError,
    ),
    (
        "1.32.2",
        "two starts at once",
        as_json("SMOLVM_ERROR", "agent operation failed: start: another process is already starting or running this VM"),
        errors.StartInProgressError,
    ),
    (
        "1.32.2",
        "start as root, /dev/kvm root's alone",
        "Starting machine 't1'...\n" + as_json("SMOLVM_ERROR", _KVM),
        errors.HypervisorUnavailableError,
    ),
    (
        "1.4.0",
        "start as root, /dev/kvm root's alone",
        f"Error: {_START} Error creating the Kvm object: Error(13) (boot process exited (code 139) before the {_END}",
        errors.HypervisorUnavailableError,
    ),
    ("1.32.2", "start as nobody", as_json("SMOLVM_ERROR", _KVM_PERMISSION), errors.HypervisorUnavailableError),
    (
        "1.32.2",
        "start, KVM opens and does not work",
        as_json(
            "SMOLVM_ERROR",
            "agent operation failed: start machine: agent operation failed: monitor agent: "
            "boot process exited (code 1) before the agent was ready",
        ),
        errors.BootFailedError,
    ),
    (
        "1.32.2",
        "run on a starved host",
        _NOISE + "Error: agent operation failed: start machine: agent operation failed: wait for ready: "
        "agent did not become ready within 30 seconds: no boot progress for 30 seconds\n",
        errors.BootFailedError,
    ),
    (
        "0.5.20",
        "two CLIs at once (smol-machines/smolvm#178)",
        "Error: database error: Database already open. Cannot acquire lock.\n",
        errors.EngineBusyError,
    ),
    ("1.7.4", "updates at once (#850)", "Error: database error: database is locked\n", errors.EngineBusyError),
    (
        "1.7.1",
        "delete of a machine that is still ending",
        "Error: storage operation failed: remove vm directory: Directory not empty (os error 39)\n",
        errors.EngineBusyError,
    ),
    (
        "1.9.1",
        "exec, 40 MB, buffered",
        NOTE + "Error: agent operation failed: vm exec: command output exceeded 11534336 bytes and was truncated. "
        "Use streaming exec (exec_stream / execStream) for large output.\n",
        errors.OutputLimitError,
    ),
    (
        "1.9.1",
        "exec --stream, 40 MB",
        "error: streaming output exceeded 11534336 byte cap; exec terminated (output truncated)\n",
        errors.OutputLimitError,
    ),
    (
        "1.32.2",
        "stop during exec",
        as_json("SMOLVM_ERROR", "io operation failed: connection closed"),
        errors.ConnectionLostError,
    ),
    (
        "1.32.2",
        "exec -i nosuchcmd, bare",
        as_json("SMOLVM_ERROR", "agent operation failed: vm exec interactive: No such file or directory (os error 2)"),
        errors.ProgramNotFoundError,
    ),
    (
        "1.32.2",
        "exec -i --user nosuchuser, image",
        as_json(
            "SMOLVM_ERROR",
            "agent operation failed: run interactive: user 'nosuchuser' not found in container rootfs",
        ),
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "exec -i -w /etc/passwd true, or exec -i /etc/passwd/x, bare",
        as_json("SMOLVM_ERROR", "agent operation failed: vm exec interactive: Not a directory (os error 20)"),
        errors.ProgramNotFoundError,
    ),
    (
        "1.4.0",
        "exec nosuchcmd, bare",
        "Error: agent operation failed: vm exec: failed to spawn command: No such file or directory (os error 2)\n",
        errors.ProgramNotFoundError,
    ),
    (
        "1.32.2",
        "exec -i /etc/passwd, bare",
        as_json("SMOLVM_ERROR", "agent operation failed: vm exec interactive: Permission denied (os error 13)"),
        errors.ProgramNotExecutableError,
    ),
    (
        "1.32.2",
        "exec --name a/b",
        as_json(
            "CONFIG_ERROR",
            "config operation failed: validate machine name: machine name cannot contain path separators",
        ),
        errors.InvalidNameError,
    ),
    (
        "0.0.36",
        "machine --help of PyPI's smolvm",
        "Usage: smolvm [OPTIONS] [COMMAND] [ARGS]...\nTry 'smolvm --help' for help.\n\nError: No such command 'machine'.\n",
        errors.ForeignProgramError,
    ),
    (
        "1.32.2",
        "create --allow-host nosuchhost.invalid",
        as_json(
            "CONFIG_ERROR",
            "config operation failed: --allow-host: failed to resolve 'nosuchhost.invalid': "
            "failed to lookup address information: Name or service not known",
        ),
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "exec with --secret-env G=NO_SUCH",
        as_json("CONFIG_ERROR", "config operation failed: resolve secret 'G': env_unset"),
        errors.SecretUnsetError,
    ),
    (
        "1.32.2",
        "exec with --secret-file G=/no/such",
        as_json("CONFIG_ERROR", "config operation failed: resolve secret 'G': file_read_failed"),
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "create -v /nonexist:/x",
        as_json("NOT_FOUND", "mount source not found: /nonexist"),
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "resize --storage, or update --storage, of a machine that was never started",
        as_json("STORAGE_ERROR", _NO_DISK),
        errors.MachineNeverStartedError,
    ),
    (
        "1.32.2",
        "pack create --from-vm of a machine that was never started",
        as_json(
            "SMOLVM_ERROR",
            "agent operation failed: pack from VM: overlay disk not found at /s/vms/6497e4b3d7bed169/overlay.raw. "
            "The VM may not have been started yet.",
        ),
        errors.MachineNeverStartedError,
    ),
    (
        "1.32.2",
        "update --net --no-net",
        "error: the argument '--net' cannot be used with '--no-net'\n\nUsage: smolvm machine update --name <NAME> --net\n",
        errors.ConfigError,
    ),
    (
        "1.32.2",
        "run -d --name of a name that is taken",
        as_json(
            "CONFIG_ERROR",
            "config operation failed: machine run -d --name: a machine named 'm1' already exists. Use 'machine start "
            "--name m1' to start it, or 'machine delete --name m1 -f' to remove it.",
        ),
        errors.MachineExistsError,
    ),
    (
        "1.32.2",
        "update of a paused machine",
        "Error: invalid vm state: expected stopped, got Paused\n",
        errors.UnknownEngineError,
    ),
    (
        "1.32.2",
        "cp of a directory, after a progress bar",
        _PROGRESS + "Error: agent operation failed: write local file: ./d: Is a directory (os error 21)\n",
        errors.CopyError,
    ),
    (
        "1.32.2",
        "cp of what the guest does not have",
        (
            "Error: agent operation failed: read file: failed to read /tmp/a.txt in the workload container: "
            "open /tmp/a.txt: No such file or directory (os error 2)\n"
        ),
        errors.CopyNotFoundError,
    ),
    (
        "1.32.2",
        "cp onto a directory of the guest",
        "Error: agent operation failed: write file: failed to rename onto /etc: Is a directory (os error 21)\n",
        errors.CopyIsADirectoryError,
    ),
    (
        "1.32.2",
        "cp of a directory of the guest",
        "Error: agent operation failed: read file: is a directory: /tmp\n",
        errors.CopyIsADirectoryError,
    ),
]
