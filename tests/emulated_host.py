"""Run a command on an emulated host with working KVM, whatever this machine is.

    python3 tests/emulated_host.py COMMAND [ARGUMENT...]

A Debian kernel boots under QEMU, which emulates an AMD processor with SVM in software. /dev/kvm works there, and the real
smolvm boots real microVMs, some ten times slower than on a real host. The command runs as root in the current directory,
with EMULATED_HOST=FOLDER in its environment. Its output appears here as it is written, and its exit status is this
program's. If the emulated processor fails (one long run in three ends in a reset, a panic or a halt), the host is booted
again and the command run from its beginning. Only what it left in FOLDER is still there.

The emulated host sees this machine's file system at the same paths, copy-on-write: a virtual environment works there, and
what is written there is lost. It has no network. Give machines cpus=1 and memory=512 in it.

The first run installs Debian packages (as root, or with sudo) and builds an initramfs in ~/.cache/smolkit-emulated-host.
Nothing else of this machine changes: the kernel is unpacked, not installed. Runs take turns.

Environment: EMULATED_HOST_MEMORY (MiB, default 6144), EMULATED_HOST_CPUS (2), EMULATED_HOST_TIMEOUT (seconds for all
boots, 4500), EMULATED_HOST_FOLDER (the path of FOLDER on this machine, to keep it; by default it is temporary).
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import zlib
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smolkit-emulated-host"
PACKAGES = ("qemu-system-x86", "busybox-static", "cpio", "kmod")
BOOTS = 20
SILENT = 90.0  # seconds without a sign of life from a processor
KERNEL = "linux-image-amd64"
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "kvm_amd", "vhost_vsock", "tun", "fuse", "virtio_console")

INIT = """\
    #!/bin/busybox sh
    /bin/busybox --install -s /bin
    export PATH=/bin
    mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
    for module in /modules/*.ko; do insmod "$module"; done
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose host /host
    mount -t tmpfs -o size=75% tmpfs /changes; mkdir /changes/upper /changes/work
    mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work overlay /root
    for cpu in /sys/devices/system/cpu/cpu[0-9]*; do
        number=${cpu##*/cpu}
        (while :; do echo >/root/run/job/alive-$number; sleep 5; done) & taskset -p -c $number $! >/dev/null
    done
    for tree in proc sys dev; do mount --move /$tree /root/$tree; done
    mkdir -p /root/dev/pts /root/dev/shm; mount -t devpts devpts /root/dev/pts
    for folder in dev/shm run; do mount -t tmpfs tmpfs /root/$folder; done
    ln -sfn /proc/self/fd /root/dev/fd
    for number in 0 1 2; do ln -sfn fd/$number /root/dev/$(echo stdin stdout stderr | cut -d' ' -f$((number+1))); done
    mkdir /root/run/job; mount -t 9p -o trans=virtio,version=9p2000.L job /root/run/job
    ip link set lo up
    chroot /root /bin/sh /run/job/script </root/dev/null >$(echo /root/dev/vport*p1) 2>&1
    echo $? >/root/run/job/status
    sync; poweroff -f
"""


def apt(*words: str) -> None:
    """Run apt-get quietly, as root."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*sudo, "apt-get", "-qq", *words], check=True, stdout=sys.stderr, env=environment)


def initramfs() -> Path:
    """Return the path of the initramfs, whose name depends on what it is built from."""
    return CACHE / f"initramfs-{zlib.crc32(repr((INIT, MODULES)).encode()):08x}.gz"


def build() -> None:
    """Install the tools, unpack a kernel and make the initramfs. No-op if that was done."""
    if initramfs().exists() and shutil.which("qemu-system-x86_64"):
        return
    apt("update")
    apt("install", "-y", "--no-install-recommends", *PACKAGES)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        work = Path(folder)
        unpack_kernel(work / "kernel")
        content = initramfs_tree(work / "tree", work / "kernel")
        listing = subprocess.run(["find", "."], cwd=content, check=True, capture_output=True).stdout
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"], cwd=content, check=True, input=listing, stdout=subprocess.PIPE
        ).stdout
        shutil.copy(next((work / "kernel/boot").glob("vmlinuz-*")), CACHE / "vmlinuz")
        (work / "initramfs.gz").write_bytes(gzip.compress(archive, 1))
        (work / "initramfs.gz").rename(initramfs())


def unpack_kernel(folder: Path) -> None:
    """Unpack Debian's current kernel from its package."""
    depends = subprocess.run(["apt-cache", "depends", KERNEL], check=True, capture_output=True, text=True).stdout
    package = next(line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line)
    subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], cwd=folder.parent, check=True)
    subprocess.run(["dpkg", "-x", str(next(folder.parent.glob("*.deb"))), str(folder)], check=True)


def initramfs_tree(tree: Path, kernel: Path) -> Path:
    """Make the initramfs as a directory: busybox, the modules in the order in which they load, and init."""
    for name in ("bin", "modules", "proc", "sys", "dev", "host", "changes", "root"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    version = next((kernel / "lib/modules").iterdir()).name
    subprocess.run(["depmod", "-b", str(kernel), version], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    files: dict[str, None] = {}
    for module in MODULES:
        command = ["modprobe", "-S", version, "-d", str(kernel), "--show-depends", module]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": "/usr/sbin:/sbin"})
        files.update(dict.fromkeys(line.split()[1] for line in answer.stdout.splitlines() if line.startswith("insmod")))
    for number, file in enumerate(files):
        shutil.copy(file, tree / f"modules/{number:03}-{Path(file).name}")
    init = tree / "init"
    init.write_text(textwrap.dedent(INIT))
    init.chmod(0o755)
    return tree


def boot(command: list[str], job: Path, deadline: float) -> int | None:
    """Boot the host, run the command in it and return its exit status; None if the host went down before that."""
    with tempfile.TemporaryDirectory() as folder:
        console = Path(folder, "console.log")
        for old in ("status", *(path.name for path in job.glob("alive-*"))):
            (job / old).unlink(missing_ok=True)
        # As root, the engine runs its VMs as another user, who cannot reach a state directory below /root.
        settings = {"HOME": str(Path.home()), "PATH": os.environ["PATH"], "SMOLVM_VM_UID_DROP": "off"}
        settings |= {"EMULATED_HOST": "/run/job", "SMOLVM_START_TIMEOUT_SECS": "900"}
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in settings.items())
        (job / "script").write_text(f"{exports}cd {shlex.quote(os.getcwd())} && exec {shlex.join(command)}\n")
        try:
            # QEMU reopens its output, and would overwrite what others write to the same file; not with a pipe.
            with (
                subprocess.Popen(["cat"], stdin=subprocess.PIPE) as output,
                subprocess.Popen(qemu(job, console), stdin=subprocess.DEVNULL, stdout=output.stdin) as host,
            ):
                watch(host, job, deadline)
            return int((job / "status").read_text())
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            print(f"\nemulated host: {error}\n{console.read_text(errors='replace')[-4000:]}", file=sys.stderr)
            return None


def watch(host: subprocess.Popen[bytes], job: Path, deadline: float) -> None:
    """Wait for the host's end, and kill it if it hangs: sometimes one of its processors halts and does not wake up."""
    try:
        while host.poll() is None:
            beats = [path.stat().st_mtime for path in job.glob("alive-*")]
            if beats and time.time() > min(beats) + SILENT:
                raise subprocess.TimeoutExpired("one of its processors", SILENT)
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("all boots", float(os.environ.get("EMULATED_HOST_TIMEOUT", "4500")))
            time.sleep(0.2)
    finally:
        host.kill()


def qemu(job: Path, console: Path) -> list[str]:
    """Return the command line of the emulated host."""
    memory, cpus = os.environ.get("EMULATED_HOST_MEMORY", "6144"), os.environ.get("EMULATED_HOST_CPUS", "2")
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"),
        *("-smp", cpus, "-m", memory, "-kernel", str(CACHE / "vmlinuz"), "-initrd", str(initramfs())),
        *("-append", "console=ttyS0 panic=-1 mitigations=off quiet random.trust_cpu=on"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-fsdev", f"local,id=job,path={job},security_model=none", "-device", "virtio-9p-pci,fsdev=job,mount_tag=job"),
        *("-chardev", "file,id=output,path=/dev/stdout,append=on", "-device", "virtio-serial-pci"),
        *("-device", "virtserialport,chardev=output", "-serial", f"file:{console}"),
        *("-nic", "none", "-monitor", "none", "-display", "none", "-no-reboot"),
    ]


def main() -> int:
    """Run the command and return the exit status."""
    if len(sys.argv) == 1:
        print(textwrap.dedent(__doc__ or ""), file=sys.stderr)
        return 2
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory() as temporary:
        job = Path(os.environ.get("EMULATED_HOST_FOLDER") or temporary)
        fcntl.flock(lock, fcntl.LOCK_EX)
        build()
        deadline = time.monotonic() + float(os.environ.get("EMULATED_HOST_TIMEOUT", "4500"))
        for boots in range(1, BOOTS + 1):
            status = boot(sys.argv[1:], job, deadline)
            if status is not None:
                return status
            print(f"emulated host: it went down by itself (boot {boots} of {BOOTS})", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
