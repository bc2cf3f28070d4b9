"""The client: where machines come from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from smolkit.commands.create import MachineSpec
from smolkit.commands.engine import PackCreate
from smolkit.commands.machine import Ls
from smolkit.machine import Machine

if TYPE_CHECKING:
    from typing import Unpack

    from smolkit.commands.typed import MachineOptions, PackOptions
    from smolkit.dialect import Engine
    from smolkit.procedures import Keep
    from smolkit.runners.base import Runner
    from smolkit.values import Check, MachineInfo


@final
class Smolvm:
    """A client of one engine. Making one runs nothing.

    Args:
        program: The smolvm program. Default: the variable SMOLKIT_SMOLVM, then `smolvm` on PATH, then the one that
            `pip install 'smolkit[engine]'` brings.
        runner: Runs the commands instead, wherever and however it likes: a SubprocessRunner with options of its own
            (`sudo -n` before each command, other variables), a fake in tests.
    """

    __slots__ = ("runner",)

    def __init__(self, program: str | os.PathLike[str] | None = None, *, runner: Runner | None = None) -> None:
        if runner is not None and program is not None:
            raise TypeError("program and runner: give the program to the runner")
        if runner is None:
            from smolkit.runners.local import SubprocessRunner  # late: a fake's users need no processes

            runner = SubprocessRunner(program)
        self.runner = runner

    def __repr__(self) -> str:
        return f"<Smolvm {self.runner.host}>"

    def machine(self, name: str | None = None, *, keep: Keep = False, **options: Unpack[MachineOptions]) -> Machine:
        """A handle on the machine of that name, which may exist or not; nothing is asked.

        Args:
            name: 1 to 128 of `A-Z a-z 0-9 _ -`. Default: a fresh one.
            keep: Whether a `with` leaves the machine at its end: always (True), or when it ends with an exception
                ("on_error"), which then has a note on how to get into the machine.
            options: What it is to be made of, if this handle makes it: see `smolkit.commands.typed.MachineOptions`.

        Raises:
            InvalidNameError: the engine would not take the name.
            TypeError, ValueError: an option is unknown, or its value cannot be right.
        """
        spec = MachineSpec.of(options)
        return Machine(self.runner, f"smolkit-{os.urandom(6).hex()}" if name is None else name, spec, keep=keep)

    def ls(self) -> list[MachineInfo]:
        """All machines of the engine, smolkit's or not, by name.

        Raises:
            SmolvmError: the engine could not tell. It is never taken for "no machines".
        """
        return list(self.runner.run(Ls()))

    def pack_create(
        self, image: str | os.PathLike[str] | None, output: str | os.PathLike[str], **options: Unpack[PackOptions]
    ) -> None:
        """Packs an image (or, with image=None and from_machine=NAME, a stopped machine) into a file for `from_path`.

        Args:
            image: A registry reference, a `docker save` archive or an unpacked root file system.
            output: The program to write; the pack stands beside it as OUTPUT.smolmachine.
            options: See `smolkit.commands.typed.PackOptions`.
        """
        self.runner.run(PackCreate.of(output, {"image": image, **options}))

    @property
    def engine(self) -> Engine:
        """The engine's version, path, dialect and capabilities; asked once.

        Raises:
            EngineNotFoundError, ForeignProgramError, UnsupportedByEngineError: there is none to drive.
        """
        return self.runner.engine

    def is_available(self) -> bool:
        """Whether there is a program to run. Nothing is run: `doctor` looks further."""
        return self.runner.is_available()

    def doctor(self) -> list[Check]:
        """What this host has and lacks for microVMs, each finding with a hint where it is not well. Never raises."""
        return self.runner.doctor()
