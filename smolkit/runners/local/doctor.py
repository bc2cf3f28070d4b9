"""Checks of this host: what it has, and lacks, for microVMs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.runners.local.first_boot import state_directories
from smolkit.values.observed import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

_KVM = Path("/dev/kvm")
_ENOUGH = 2 * 2**30  # bytes for the engine's root file system, its templates, and a machine's first writes


def host_checks(env: Mapping[str, str], kvm: Path = _KVM) -> list[Check]:
    """Check the host for an engine with these variables. A check that cannot be made fails."""
    checks = [] if sys.platform != "linux" else _kvm(kvm)
    for directory in state_directories(env):
        try:
            checks += _disk_checks(directory)
        except OSError as error:
            checks.append(Check("state directory writable", ok=False, detail=str(error), hint="can this user read it?"))
    return checks


def _kvm(kvm: Path) -> list[Check]:
    present = kvm.exists()
    hint = "turn virtualization on in the firmware, or nested virtualization for a virtual host; load kvm_intel or kvm_amd"
    checks = [Check("kvm present", present, str(kvm), "" if present else hint)]
    if present:
        allowed = os.access(kvm, os.R_OK | os.W_OK)
        hint = "sudo usermod -aG kvm $USER, and log in again"
        checks.append(Check("kvm permitted", allowed, f"read and write {kvm}", "" if allowed else hint))
    return checks


def _disk_checks(directory: Path) -> list[Check]:
    existing = next(place for place in (directory, *directory.parents) if place.exists())
    writable = os.access(existing, os.W_OK | os.X_OK)
    free = shutil.disk_usage(existing).free
    move = f"make {existing} writable, or set SMOLVM_DATA_DIR (engine >= 1.2.5) to a directory that is"
    room = f"free some space on {existing}: machines write there as they grow"
    return [
        Check("state directory writable", writable, str(directory), "" if writable else move),
        Check("free disk", free >= _ENOUGH, f"{free / 2**30:.1f} GiB at {existing}", "" if free >= _ENOUGH else room),
    ]
