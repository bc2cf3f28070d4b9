"""The suite, as often as you say, as it is least comfortable: it has to pass each time.

    python -m tests.stress [TIMES]            (20, if you do not say)

Each run is in random order, by two processes, under load (two busy loops beside it), with SIGINT ignored, without a
terminal, with HOME unset, and as a user who is not root and has no KVM: as root, that is user 1000 of a namespace that has
no other. What a failed run printed is shown; `-p pytest_randomly -p no:xdist --randomly-seed=...` brings its order back.
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
PYTEST = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "pytest_randomly", "-p", "no:cacheprovider"]


@contextmanager
def load() -> Iterator[None]:
    """Keeps the processors busy."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY_LOOPS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def command() -> list[str]:
    """One run, as a user who is not root."""
    if os.getuid() != 0:
        return PYTEST
    if shutil.which("unshare") is None:
        raise SystemExit("as root this needs unshare (Debian: util-linux), or run it as another user")
    # This machine's root owns its files there, and has no privileges; /dev/kvm, which root may open, is another file.
    script = 'mount --bind /dev/null /dev/kvm; exec unshare --user --map-user=1000 --map-group=1000 -- "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *PYTEST]


def once() -> subprocess.CompletedProcess[str]:
    """One run."""
    env = {key: value for key, value in os.environ.items() if key != "HOME"}
    return subprocess.run(
        command(),
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )


def main() -> int:
    """The command line."""
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
