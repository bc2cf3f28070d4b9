"""Program that the far end runs first, from its text: it finds or receives smolkit, and starts the far process.

There is no smolkit yet: only the standard library is imported. Nothing is read from the link that is not asked for, so that
the far process finds the first frame.
"""

import hashlib
import json
import os
import struct
import sys
import time

MARK = b"\0smolkit far end 1\n"
OLD = 30 * 86_400  # seconds without use after which a zip is removed


def tell(op: str) -> None:
    """Write a frame (see `wire`)."""
    header = json.dumps({"ch": 0, "op": op}).encode()
    os.write(1, struct.pack(">2sBxII", b"sk", 1, len(header), 0) + header)


def receive(size: int) -> bytes:
    """Read so many bytes from the link, and none after them."""
    found = b""
    while len(found) < size:
        data = os.read(0, size - len(found))
        if not data:
            sys.exit("smolkit: the link was closed")
        found += data
    return found


def caches() -> list[str]:
    """Directories for a zip, the best first."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [os.path.join(cache, "smolkit"), f"/tmp/smolkit-{os.geteuid()}", f"/dev/shm/smolkit-{os.geteuid()}"]  # noqa: S108


def private(path: str) -> bool:
    """Make the directory if it is missing. True if it is this user's alone, and no symlink."""
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or os.path.islink(path) or not os.path.isdir(path):
            return False
        os.chmod(path, 0o700)
    except OSError:
        return False
    return True


def cached(directory: str, digest: str) -> str:
    """The path of the zip in this directory; "" if there is none, or another one by that name."""
    path = os.path.join(directory, f"far-{digest}.zip")
    try:
        with open(path, "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != digest:
                return ""
        os.utime(path)
    except OSError:
        return ""
    return path


def keep(directory: str, digest: str, content: bytes) -> str:
    """Write the zip to this directory, and return its path; "" if that is not possible."""
    path = os.path.join(directory, f"far-{digest}.zip")
    part = f"{path}.{os.getpid()}"
    try:
        for name in os.listdir(directory):
            old = os.path.join(directory, name)
            if name.startswith("far-") and time.time() - os.stat(old).st_mtime > OLD:
                os.unlink(old)
        with open(part, "xb") as file:
            file.write(content)
        os.rename(part, path)
    except OSError:
        if os.path.exists(part):
            os.unlink(part)
        return ""
    return path


def in_memory(content: bytes) -> str:
    """A path of the zip in this process's memory, where no directory takes it."""
    if not hasattr(os, "memfd_create"):
        sys.exit("smolkit: no directory of this host takes 200 KB: tried " + ", ".join(caches()))
    fd = os.memfd_create("smolkit")
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return f"/proc/self/fd/{fd}"


def zip_of_smolkit() -> str:
    """The path of the zip whose digest follows this text on the link. It is asked for if there is none."""
    digest = receive(64).decode()
    os.write(1, MARK)
    for directory in filter(os.path.isdir, caches()):
        if private(directory) and (path := cached(directory, digest)):
            tell("have")
            return path
    tell("need")
    content = receive(int(receive(10)))
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit("smolkit: what arrived is not what was sent")
    kept = (keep(directory, digest, content) for directory in caches() if private(directory))
    return next(filter(None, kept), "") or in_memory(content)


if __name__ == "__main__":
    sys.path.insert(0, zip_of_smolkit())
    from smolkit.runners.remote.far import main

    main()
