"""Checks of this host: what it has, and lacks, for microVMs."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from grp import getgrnam
from pathlib import Path
from typing import TYPE_CHECKING

from smolkit.runners.local.first_boot import state_directories
from smolkit.runners.local.kvm import try_kvm
from smolkit.values.observed import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KVM = Path("/dev/kvm")
_ENOUGH = 2 * 2**30  # bytes for the engine's root file system, its templates, and a machine's first writes


def host_checks(env: Mapping[str, str], kvm: Path = _KVM, attempt: Callable[[Path], str] = try_kvm) -> list[Check]:
    """Check the host for an engine with these variables. A check that cannot be made fails. `attempt` tries KVM."""
    checks = [] if sys.platform != "linux" else _kvm(kvm, env, attempt)
    for directory in state_directories(env):
        try:
            checks += _disk_checks(directory)
        except OSError as error:
            checks.append(Check("state directory writable", ok=False, detail=str(error), hint="can this user read it?"))
    return checks


def _kvm(kvm: Path, env: Mapping[str, str], attempt: Callable[[Path], str]) -> list[Check]:
    present = kvm.exists()
    hint = "turn virtualization on in the firmware, or nested virtualization for a virtual host; load kvm_intel or kvm_amd"
    checks = [Check("kvm present", present, str(kvm), "" if present else hint)]
    if present:
        denied = _denied(kvm, env)
        checks.append(Check("kvm permitted", not denied, f"read and write {kvm}", denied))
        problem = attempt(kvm)
        hint = "virtual hosts need nested virtualization of the real kind; see `dmesg | grep kvm`"
        checks.append(Check("kvm works", not problem, problem or "a virtual processor ran", hint if problem else ""))
    return checks


def _denied(kvm: Path, env: Mapping[str, str]) -> str:
    """The hint where the user of the engine's VMs may not open the device, or "".

    For root each VM has a user of its own, in the group `kvm` if there is one (1.32.2): what root may do proves nothing.
    """
    if os.geteuid() != 0 or env.get("SMOLVM_VM_UID_DROP") == "off":
        return "" if os.access(kvm, os.R_OK | os.W_OK) else "sudo usermod -aG kvm $USER, and log in again"
    found = kvm.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o006 == 0o006 or (mode & 0o060 == 0o060 and found.st_gid == _kvm_group()):  # noqa: PLR2004  (read and write)
        return ""
    return f"groupadd -f kvm; chgrp kvm {kvm}; chmod 660 {kvm}: the engine runs VMs as other users than root, in this group"


def _kvm_group() -> int | None:
    try:
        return getgrnam("kvm").gr_gid
    except KeyError:
        return None


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
