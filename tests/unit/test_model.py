"""Seeded schedules of several handles on the same names, with faults, interrupts at any moment and replaced machines.

500 schedules in the suite; many more by hand: `python -m tests.unit.test_model 20000` (and a first seed after it).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random

from smolkit import Completed, Invocation, Machine, Smolvm
from smolkit.testing import FakeSmolvm
from smolkit.testing.fake import Fault
from smolkit.testing.guest import FakeMachine

VERSIONS = ["1.32.2", "1.20.2", "1.8.3", "0.8.0"]
FAULTS: list[Fault] = ["locked", "killed", "hangs", "boot failed", "boot timeout"]
VERBS = ["create", "start", "stop", "delete", "status", "ls", "exec"]


class StrikeError(BaseException):
    """The exception of the program's own signal handler."""


class BodyError(Exception):
    """The exception of a block's body."""


class Engine:
    """A fake in which signals strike, and whose machines others replace."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.fake = FakeSmolvm(random.choice(VERSIONS))
        self.strikes = 0  # signals still to send
        self.struck = 0
        self.bodies = 0  # bodies that raised an exception of their own
        self.others: dict[str, FakeMachine] = {}  # machines of other programs, which must not change, by name
        self._execute, self.fake.execute = self.fake.execute, self.execute  # type: ignore[method-assign]
        self.fake.observe(lambda _: self.strike(0.1))

    def handle(self, *_: object) -> None:
        """The program's signal handler."""
        self.struck += 1
        raise StrikeError

    def execute(self, invocation: Invocation) -> Completed:
        """Run a call, perhaps with a signal before its work, or after it, where a naive runner loses the answer."""
        self.strike(0.1)
        done = self._execute(invocation)
        self.strike(0.1)
        return done

    def strike(self, chance: float) -> None:
        """Perhaps send a signal."""
        if self.strikes and self.random.random() < chance:
            self.strikes -= 1
            signal.raise_signal(signal.SIGUSR1)

    def replace(self, name: str) -> None:
        """Act as another program that removes the machine of this name, if any, and makes its own."""
        with self.quiet():
            self.fake.sleep(100)  # for engines without labels, where only the age tells machines apart
            self.fake.machines.pop(name, None)
            Smolvm(runner=self.fake).machine(name).create()
            self.fake.sleep(100)
            self.others[name] = self.fake.machines[name]

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send no signals and inject no faults in this block."""
        strikes, self.strikes = self.strikes, 0
        faults, self.fake._faults = self.fake._faults, []
        yield
        self.strikes, self.fake._faults = strikes, faults


def act(engine: Engine, handle: Machine) -> None:
    """One operation of a program on a handle."""
    what = engine.random.choice(["with", "with", "create", "delete", "stop", "fail", "fail"])
    if what in {"with", "fail"}:
        with handle:
            if engine.random.random() < 0.3:
                engine.replace(handle.name)
            engine.strike(0.1)
            if what == "fail":
                engine.bodies += 1
                raise BodyError
    elif what == "create":
        handle.create()
    elif handle._known.made is not None:  # a handle that made nothing acts on any machine of the name
        getattr(handle, what)()


def play(engine: Engine, handle: Machine) -> BaseException | None:
    """The same operation with faults and signals before and during it. Returns the exception that came out."""
    random = engine.random
    engine.strikes, engine.struck, engine.bodies = random.choice([0, 1, 1, 2, 3]), 0, 0
    if random.random() < 0.5:
        with suppress(ValueError):  # not every verb has every fault
            engine.fake.fail(random.choice(VERBS), random.choice(FAULTS), times=random.choice([1, 1, 3, 9]))
    if random.random() < 0.2:
        engine.replace(handle.name)
    try:
        act(engine, handle)
    except BaseException as error:  # noqa: BLE001  (all that came out is judged)
        return error
    finally:
        engine.fake._faults.clear()
    return None


def chain_and_text(error: BaseException | None) -> tuple[list[BaseException], str]:
    """An exception with all its causes and contexts, and their text and notes."""
    chain: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is not None and each not in chain:
            chain.append(each)
            todo += [each.__cause__, each.__context__]
    return chain, "\n".join(str(part) for each in chain for part in (each, *getattr(each, "__notes__", [])))


def schedule(seed: int) -> str:
    """Run one schedule, and return the broken promise or ""."""
    engine = Engine(Random(seed))  # noqa: S311  (a test's)
    names = [engine.random.choice(["a", "b"]) for _ in range(engine.random.randint(2, 4))]
    client = Smolvm(runner=engine.fake)
    handles = [client.machine(name, keep=engine.random.choice([False, False, "on_error"])) for name in names]
    words, before = "", signal.signal(signal.SIGUSR1, engine.handle)
    try:
        for _ in range(engine.random.randint(1, 6)):
            error = play(engine, engine.random.choice(handles))
            chain, more = chain_and_text(error)
            words += more
            if wrong := judge(engine, error, chain) or left(engine, handles, words):
                return f"seed {seed}, {engine.fake.engine.version}: {wrong}, {error!r}"
    finally:
        signal.signal(signal.SIGUSR1, before)
    return ""


def judge(engine: Engine, error: BaseException | None, chain: list[BaseException]) -> str:
    """Check a schedule's result, and return the broken promise or ""."""
    if engine.struck and not isinstance(error, StrikeError):
        return "an interrupt was swallowed"
    seen = [error] if not engine.struck else chain  # an interrupt replaces the body's exception, and has it as its context
    if engine.bodies and not any(isinstance(each, BodyError) for each in seen):
        return "the body's exception was lost"
    for name, machine in engine.others.items():
        if engine.fake.machines.get(name) is not machine or machine.state != "created":
            return f"machine {name!r} of another was touched"
    if engine.fake._smolkit.starts._line or engine.fake._smolkit.probing._line:
        return "a place at a gate was lost"
    if signal.getsignal(signal.SIGUSR1) != engine.handle:
        return "the program's signal handler was not restored"
    return ""


def left(engine: Engine, handles: list[Machine], words: str) -> str:
    """A message about machines of ours that are left without a handle and unmentioned, or ""."""
    kept = {handle.name for handle in handles if handle._known.made is not None}
    ours = {name for name, machine in engine.fake.machines.items() if machine is not engine.others.get(name)}
    found = (ours - kept) | set(engine.fake.leaked)
    silent = sorted(name for name in found if f"machine {name!r}" not in words)
    return f"left unmentioned: {silent}" if silent else ""


def test_no_schedule_breaks_a_promise() -> None:
    """No schedule touches another's machine, leaves one unmentioned, loses an exception or keeps a place at a gate."""
    assert [] == [wrong for seed in range(500) if (wrong := schedule(seed))]


if __name__ == "__main__":
    many, first = (int(word) for word in (*sys.argv[1:], "0")[:2])
    broken = [wrong for seed in range(first, first + many) if (wrong := schedule(seed))]
    print("\n".join(broken), f"{len(broken)} of {many} schedules broke a promise", sep="\n")
