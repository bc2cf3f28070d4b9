"""Execution of guest commands within the engine's limits: its timeout, its cap on output, the life of the VM."""

from __future__ import annotations

import math
from threading import RLock

from smolkit.commands import in_shell
from smolkit.commands.dialect import Dialect
from smolkit.commands.failures import CANNOT_START, TIMED_OUT
from smolkit.commands.spawn import MARK
from smolkit.testing import dispatch, engine_failures
from smolkit.testing.argv_parser import ParsedArgs
from smolkit.testing.clock import FakeClock
from smolkit.testing.guest import FakeMachine, GuestCall
from smolkit.testing.guest_io import WAITING, GuestStdin, Pieces, StdinTimeout
from smolkit.testing.handlers import CannotStartError, RegisteredHandler
from smolkit.testing.secret_sources import resolve, sources
from smolkit.values.hidden import Variables


class GuestExec:
    """The machines of a fake, and the execution of commands in them.

    Attributes:
        machines: The machines by name.
        leaked: Names of deleted machines whose half-booted VM was left behind.
        handlers: The last one that matches a command answers it.
        lock: Held while machines are made, changed or removed.
    """

    def __init__(self, dialect: Dialect, clock: FakeClock) -> None:
        self.machines: dict[str, FakeMachine] = {}
        self.leaked: list[str] = []
        self.handlers: list[RegisteredHandler] = []
        self.lock: RLock = RLock()
        self._dialect, self._clock = dialect, clock
        self._numbers = iter(range(600, 10**9))

    def call(self, machine: FakeMachine, args: ParsedArgs, stdin: GuestStdin) -> Pieces:
        """Run the command of an exec or run command line in a machine."""
        command, user, merged = in_shell.unwrapped(args.command)
        call = GuestCall(
            machine,
            command,
            _variables(machine, args),
            args.value("-w") or args.value("--workdir") or "/",
            user or args.value("--user") or None,
            stdin,
            self._clock.now,
            self._clock.sleep,
        )
        machine.calls.append(call)
        if args.fault == "output cap":
            raise engine_failures.injected(args.fault)
        try:
            pieces = dispatch.run(call, self.handlers)
            if command != args.command:
                pieces = _by_shell(call, pieces, merged=merged)
            if "-d" in args.options:
                return (yield from self._detach(machine, call, pieces))
            bounded = self._bounded(machine, args, pieces, stdin)
            return (yield from bounded if "-i" in args.options else _buffered(bounded))
        except CannotStartError as failure:
            if machine.image is None:
                raise engine_failures.cannot_start(failure.reason, interactive="-i" in args.options) from None
            yield "stderr", engine_failures.crun_cannot_start(failure.reason, call.args[0], call.workdir).encode()
            return CANNOT_START

    def _bounded(self, machine: FakeMachine, args: ParsedArgs, pieces: Pieces, stdin: GuestStdin) -> Pieces:
        """The command's output as it comes, until the command ends, its timeout is over, or the VM stops."""
        timeout, started = _seconds(args.value("--timeout")), self._clock.seconds
        stdin.deadline = None if timeout is None else started + timeout
        while True:
            piece, status = self._resume(pieces, stdin)
            # Before the piece is passed on: output after the timeout is lost, as in the engine.
            if timeout is not None and self._is_late(stdin):
                pieces.close()
                return (yield from self._timed_out(started, timeout))
            if args.fault == "dies" and piece != WAITING:
                machine.state = "stopped"
                yield from [piece] if piece else ()
            # Another thread may have stopped or deleted the machine. (A machine of `run` is in no table.)
            if machine.state != "running" or self.machines.get(machine.name, machine) is not machine:
                raise engine_failures.injected("dies")
            if piece is None:
                return status
            yield piece

    def _timed_out(self, started: float, timeout: float) -> Pieces:
        self._clock.seconds = _after(started, timeout)
        if self._dialect.supports("--error-format"):
            yield "stderr", f"\ncommand timed out after {timeout * 1000:.0f}ms".encode()
        return TIMED_OUT

    def _resume(self, pieces: Pieces, stdin: GuestStdin) -> tuple[tuple[str, bytes] | None, int]:
        """The command's next piece, or None and its exit status."""
        try:
            return next(pieces), 0
        except StopIteration as end:
            return None, end.value
        except StdinTimeout:
            if not self._is_late(stdin):
                raise
            return None, TIMED_OUT

    def _is_late(self, stdin: GuestStdin) -> bool:
        return stdin.deadline is not None and self._clock.seconds > stdin.deadline

    def _detach(self, machine: FakeMachine, call: GuestCall, pieces: Pieces) -> Pieces:
        """Run a command that is left to run: at once to its end, but it counts as running for as long as it slept."""
        started = self._clock.seconds
        for _ in pieces:  # its output goes nowhere
            pass
        taken = self._clock.seconds - started
        self._clock.seconds -= taken
        machine.spawned[call.env.get(MARK, "")] = call.now + taken
        yield "stdout", f"{next(self._numbers)}\n".encode()
        return 0


def _by_shell(call: GuestCall, pieces: Pieces, *, merged: bool) -> Pieces:
    """A command started by a shell of the guest, which reports one that it cannot start, and may merge its streams."""
    try:
        while True:
            stream, data = next(pieces)
            yield ("stdout" if merged and stream == "stderr" else stream), data
    except StopIteration as end:
        return int(end.value)
    except CannotStartError as failure:
        if failure.reason.filename == call.workdir or not call.files.is_dir("/bin"):  # the shell was not started either
            raise
        is_missing = not isinstance(failure.reason, PermissionError)
        yield "stderr", f"smolkit: {call.args[0]}: {'not found' if is_missing else 'not executable'}\n".encode()
        return 127 if is_missing else 126
    finally:
        pieces.close()


def _buffered(pieces: Pieces) -> Pieces:
    """The output of a command without `-i`: all of it at the end, up to the engine's cap."""
    buffered: list[tuple[str, bytes]] = []
    size = 0
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            yield from buffered
            return int(end.value)
        buffered.append(piece)
        size += len(piece[1])
        if size > engine_failures.OUTPUT_CAP:
            raise engine_failures.injected("output cap")


def _variables(machine: FakeMachine, args: ParsedArgs) -> Variables:
    """The command's environment: the machine's variables, then its secrets, the call's secrets and `-e`; later ones win.

    The engine resolves every secret, also one that a later variable replaces: if it cannot, the call fails.
    """
    secrets = {**resolve(machine.secrets, args.env), **resolve(sources(args), args.env)}
    return Variables({**machine.env, **secrets, **args.pairs("-e")})


def _after(started: float, seconds: float) -> float:
    """The time `seconds` after `started`, rounded so that the difference is never less than that."""
    later = started + seconds
    return later if later - started >= seconds else math.nextafter(later, math.inf)


def _seconds(text: str) -> float | None:
    """Seconds from the engine's notation, `30s` or `1500ms`."""
    return None if not text else float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
