"""How a fake runs commands in its guests: within the engine's bounds, and by a clock of its own."""

from __future__ import annotations

import math
from threading import RLock
from typing import TYPE_CHECKING, Any

from smolkit.commands.failures import CANNOT_START, TIMED_OUT
from smolkit.handles.spawned import MARK
from smolkit.testing import guest, words
from smolkit.testing.guest import FakeMachine, GuestCall
from smolkit.testing.guest_input import WAITS, GuestInput, Left
from smolkit.testing.secret_sources import resolve, sources
from smolkit.values.hidden import Variables

if TYPE_CHECKING:
    from smolkit.commands.dialect import Dialect
    from smolkit.testing.shell import Pieces
    from smolkit.testing.words import Words

_EPOCH = 1_767_225_600.0  # when a fake's clock begins: 2026-01-01


class Clock:
    """A time of its own, which passes when it is told to.

    Attributes:
        seconds: How much has passed.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    @property
    def now(self) -> float:
        """Seconds since the epoch."""
        return _EPOCH + self.seconds

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.seconds += seconds


class Executing:
    """The machines of a fake, and commands in them.

    Attributes:
        machines: By name.
        leaked: Machines whose half-booted VM was left behind.
        handlers: What runs a command, by its first words; the last one that fits counts.
    """

    def __init__(self, dialect: Dialect, clock: Clock) -> None:
        self.machines: dict[str, FakeMachine] = {}
        self.leaked: list[str] = []
        self.handlers: list[tuple[tuple[str, ...], Any]] = []
        self.lock = RLock()
        self._dialect, self._clock = dialect, clock
        self._numbers = iter(range(600, 10**9))

    def call(self, machine: FakeMachine, said: Words, stdin: GuestInput) -> Pieces:
        """A command in a machine, by the command line of exec or run."""
        call = GuestCall(
            machine,
            said.command,
            _variables(machine, said),
            said.one("-w") or said.one("--workdir") or "/",
            said.one("--user") or None,
            stdin,
            self._clock.now,
            self._clock.sleep,
        )
        machine.calls.append(call)
        interactive = "-i" in said.options
        if said.fault == "output cap":
            raise words.fault(said.fault)
        try:
            pieces = guest.run(call, self.handlers)
            if "-d" in said.options:
                return (yield from self._detach(machine, call, pieces))
            return (yield from self._bounded(machine, said, pieces, stdin))
        except (FileNotFoundError, PermissionError) as error:
            if machine.image is None:
                raise words.cannot_start(error, interactive=interactive) from None
            yield "stderr", words.crun_cannot_start(error, call.args[0]).encode()
            return CANNOT_START

    def _bounded(self, machine: FakeMachine, said: Words, pieces: Pieces, stdin: GuestInput) -> Pieces:
        """The command's output, as long as the engine's bounds and its VM let it come."""
        timeout, started = _seconds(said.one("--timeout")), self._clock.seconds
        stdin.until = None if timeout is None else started + timeout
        live, size = "-i" in said.options, 0
        held: list[tuple[str, bytes]] = []
        while True:
            piece, status = self._resumed(pieces, stdin)
            if timeout is not None and self._is_late(stdin):
                self._clock.seconds = _after(started, timeout)
                pieces.close()
                yield from held
                if self._dialect.supports("--error-format"):
                    yield "stderr", f"\ncommand timed out after {timeout * 1000:.0f}ms".encode()
                return TIMED_OUT
            if said.fault == "dies" and piece != WAITS:
                machine.state = "stopped"
                yield from [piece] if live and piece else ()
                raise words.fault(said.fault)
            if machine.state != "running" or self.machines.get(machine.name, machine) is not machine:
                raise words.fault("dies")
            if piece is None:
                yield from held
                return status
            size += len(piece[1])
            if live:
                yield piece
            else:
                held.append(piece)
                if size > words.CAP:
                    raise words.fault("output cap")

    def _resumed(self, pieces: Pieces, stdin: GuestInput) -> tuple[tuple[str, bytes] | None, int]:
        """The command's next piece, or None and its status."""
        try:
            return next(pieces), 0
        except StopIteration as end:
            return None, end.value
        except Left:
            if not self._is_late(stdin):
                raise
            return None, TIMED_OUT

    def _is_late(self, stdin: GuestInput) -> bool:
        return stdin.until is not None and self._clock.seconds > stdin.until

    def _detach(self, machine: FakeMachine, call: GuestCall, pieces: Pieces) -> Pieces:
        """It runs to its end at once, but seems to run for as long as it slept."""
        started = self._clock.seconds
        for _ in pieces:
            pass
        taken = self._clock.seconds - started
        self._clock.seconds -= taken
        machine.spawned[call.env.get(MARK, "")] = call.now + taken
        yield "stdout", f"{next(self._numbers)}\n".encode()
        return 0


def _variables(machine: FakeMachine, said: Words) -> Variables:
    """What wins stands last. The engine resolves the machine's secrets also where the command has others of their names."""
    secrets = {**resolve(machine.secrets, said.given), **resolve(sources(said), said.given)}
    return Variables({**machine.env, **secrets, **said.pairs("-e")})


def _after(started: float, seconds: float) -> float:
    """The time so many seconds later: never, as a sum of floats may be, less than that."""
    later = started + seconds
    return later if later - started >= seconds else math.nextafter(later, math.inf)


def _seconds(text: str) -> float | None:
    """As the engine reads it: `30s` or `1500ms`."""
    return None if not text else float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))
