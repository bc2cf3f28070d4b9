"""Run the suite many times under adverse conditions. It must pass each time.

    python -m tests.stress [TIMES]            (default: 20)

Each run is in random order, in two processes, under load (two busy loops beside it), with SIGINT and SIGHUP ignored,
without a terminal, with HOME unset, and as a user who is not root and has no KVM. If you are root, that is user 1000 in a
user namespace of its own. The output of a failed run is shown; `-p pytest_randomly -p no:xdist --randomly-seed=...` repeats
its order.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

BUSY_LOOPS = 2
OPTIONS = ["-q", "-n", "2", "-p", "pytest_randomly", "-p", "no:cacheprovider"]
PYTEST = [sys.executable, "-m", "pytest", *OPTIONS]


@contextmanager
def load() -> Iterator[None]:
    """Keep the processors busy during the block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def command() -> list[str]:
    """Return the command of one run, as a user who is not root."""
    if os.getuid() != 0:
        return PYTEST
    if shutil.which("unshare") is None:
        raise SystemExit("as root this needs unshare (Debian: util-linux), or run it as another user")
    # In the namespace this user owns root's files but has no privileges. root could open /dev/kvm: hide it.
    script = 'mount --bind /dev/null /dev/kvm; exec unshare --user --map-user=1000 --map-group=1000 -- "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *PYTEST]


def once() -> subprocess.CompletedProcess[str]:
    """Run the suite once."""
    env = {key: value for key, value in os.environ.items() if key != "HOME"}
    return subprocess.run(
        command(),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)],
    )


def main() -> int:
    """Run the suite as often as asked, and return the exit status."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    green = 0
    with load():
        for number in range(1, times + 1):
            started = time.monotonic()
            done = once()
            green += done.returncode == 0
            last = done.stdout.rstrip().rpartition("\n")[2]
            print(f"run {number} of {times}: {last} ({time.monotonic() - started:.0f} s)", flush=True)
            if done.returncode:
                print(done.stdout, done.stderr, sep="\n", flush=True)
    print(f"{green} of {times} green")
    return 0 if green == times else 1


if __name__ == "__main__":
    sys.exit(main())
