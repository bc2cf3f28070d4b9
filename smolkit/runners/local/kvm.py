"""Tries KVM by a virtual processor that executes two instructions, without booting anything."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
from contextlib import ExitStack
from pathlib import Path

# From linux/kvm.h, for x86-64.
_CREATE_VM, _CREATE_VCPU, _VCPU_MMAP_SIZE, _RUN = 0xAE01, 0xAE41, 0xAE04, 0xAE80
_SET_USER_MEMORY_REGION, _GET_SREGS, _SET_SREGS, _SET_REGS = 0x4020AE46, 0x8138AE83, 0x4138AE84, 0x4090AE82
_EXIT_HLT = 5
_SREGS_SIZE, _REGS_SIZE = 312, 144
_CS_BASE, _CS_SELECTOR, _CR4, _RIP, _RFLAGS = 0, 12, 248, 16 * 8, 17 * 8
_OSFXSR = 1 << 9  # of CR4: the guest may use SSE
_MEMORY = 0x1000  # bytes
# An SSE instruction, as a kernel has them, and a halt. A KVM that emulates the processor in part (in some nested hosts)
# makes VMs and halts them, and fails at the former.
_PROGRAM = bytes.fromhex("660fefc0 f4")  # pxor xmm0, xmm0; hlt


def try_kvm(kvm: Path) -> str:
    """Make a VM and run a few instructions in it.

    Returns:
        The problem, or "" if there is none. On other machines than x86-64 only the VM is made.
    """
    try:
        with ExitStack() as opened:
            device = _opened(opened, os.open(kvm, os.O_RDWR | os.O_CLOEXEC))
            vm = _opened(opened, fcntl.ioctl(device, _CREATE_VM, 0))
            if platform.machine() not in {"x86_64", "AMD64"}:
                return ""
            reason = _run(opened, device, vm)
    except OSError as error:
        return error.strerror or str(error)
    return "" if reason == _EXIT_HLT else f"its virtual processor cannot run a kernel (exit reason {reason})"


def _opened(stack: ExitStack, descriptor: int) -> int:
    stack.callback(os.close, descriptor)
    return descriptor


def _run(opened: ExitStack, device: int, vm: int) -> int:
    """Run the program. Returns the reason for which it ended (KVM_EXIT_*)."""
    memory = mmap.mmap(-1, _MEMORY)
    memory[: len(_PROGRAM)] = _PROGRAM
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, struct.pack("=IIQQQ", 0, 0, 0, _MEMORY, place))
    processor = _opened(opened, fcntl.ioctl(vm, _CREATE_VCPU, 0))
    shared = mmap.mmap(processor, fcntl.ioctl(device, _VCPU_MMAP_SIZE, 0))
    special = bytearray(_SREGS_SIZE)
    fcntl.ioctl(processor, _GET_SREGS, special)
    struct.pack_into("=Q", special, _CS_BASE, 0)
    struct.pack_into("=H", special, _CS_SELECTOR, 0)
    struct.pack_into("=Q", special, _CR4, struct.unpack_from("=Q", special, _CR4)[0] | _OSFXSR)
    fcntl.ioctl(processor, _SET_SREGS, special)
    general = bytearray(_REGS_SIZE)
    struct.pack_into("=QQ", general, _RIP, 0, 2)  # from address 0, with the flag that is always set
    fcntl.ioctl(processor, _SET_REGS, general)
    fcntl.ioctl(processor, _RUN, 0)
    reason: int = struct.unpack_from("=I", shared, 8)[0]
    return reason
