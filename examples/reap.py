"""Remove the machines that dead processes left behind: `python examples/reap.py [--dry-run]`, by cron or at a start."""

import sys

from smolkit import Smolvm, SmolvmError

if __name__ == "__main__":
    dry_run = "--dry-run" in sys.argv[1:]
    try:
        for item in Smolvm().reap(dry_run=dry_run):
            print("would remove" if dry_run else "removed", item.machine.name, "-", item.reason)
    except SmolvmError as error:
        sys.exit(str(error))
