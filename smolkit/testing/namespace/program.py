"""The program: `python program.py ENGINE/smolvm WORDS...` is one call of the engine in that directory.

It runs isolated and without `site`, which takes half the time. So it finds smolkit by its own place.
"""

import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))))

import json
from contextlib import suppress

from smolkit.testing.arguments import split
from smolkit.testing.engine_failures import EngineFailure, usage
from smolkit.testing.namespace import machine_spec
from smolkit.testing.namespace.subcommands import SUBCOMMANDS, Subcommands

_BETWEEN = 0.3  # seconds between two signals
_HANGS = 60.0  # seconds
_KILLED_RUN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Call:
    """One call of the engine.

    Args:
        engine: The engine's directory.
        verb: The subcommand.
    """

    def __init__(self, engine: str, verb: str) -> None:
        self._engine, self._verb, self._fault, self._is_done = engine, verb, "", False

    def misbehave(self) -> None:
        """Do what the test has arranged for before the work; by then `start` has booted its VM."""
        if self._is_done:
            return
        self._is_done = True
        time.sleep(float(self._arranged("delay") or 0))
        for name in self._arranged("strike").split():
            os.kill(os.getppid(), signal.Signals[f"SIG{name}"])
            time.sleep(_BETWEEN)
        self._fault = self._arranged("fault")
        self._go_wrong(self._fault)

    def misbehave_late(self) -> None:
        """Do what the test has arranged for after the work."""
        self._go_wrong(self._fault.removesuffix("-late"))

    def _arranged(self, kind: str) -> str:
        path = f"{self._engine}/{kind}-{self._verb}"
        with suppress(FileNotFoundError), open(path) as file:
            os.unlink(path)
            return file.read()
        return ""

    def _go_wrong(self, fault: str) -> None:
        if fault == "fail":
            raise EngineFailure("X", "it broke")
        if fault == "busy":
            raise EngineFailure("X", "database error: database is locked")
        if fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang":
            time.sleep(_HANGS)


def main(engine: str, words: list[str]) -> int:
    """Do what a call asks for, and return its exit status."""
    as_json = words[:1] == ["--error-format"]
    rest = words[2:] if as_json else words
    try:
        return _perform(engine, rest)
    except EngineFailure as error:
        failure = error
    except OSError as error:
        failure = EngineFailure("SMOLVM_ERROR", f"io operation failed: {error}")
    except (ValueError, LookupError) as error:
        failure = usage(f"invalid value: {error}")
    os.write(2, failure.stderr(as_json=as_json))
    return failure.status


def _perform(engine: str, words: list[str]) -> int:
    with open(f"{engine}/settings.json") as file:  # a closed engine has none
        settings = json.load(file)
    if words in (["--version"], ["--help"]):
        verbs = f"machine {{{','.join(SUBCOMMANDS)}}}"
        sys.stdout.write(f"smolvm {settings['version'] if words == ['--version'] else verbs}\n")
        return 0
    verb = words[1] if words[:1] == ["machine"] and len(words) > 1 else ""
    if verb not in SUBCOMMANDS:
        raise usage(f"unrecognized subcommand '{' '.join(words[:2])}' (NamespaceEngine has {', '.join(SUBCOMMANDS)})")
    with open(f"{engine}/calls", "a") as file:
        file.write(f"{verb}\n")
    switches, flags = settings["grammar"][verb]
    args = split(words[2:], frozenset(switches), frozenset(flags))
    machine_spec.check(verb, args)
    call = Call(engine, verb)
    if verb != "start":
        call.misbehave()
    if verb == "run":
        for number in _KILLED_RUN:
            signal.signal(number, _end_run)
    status = SUBCOMMANDS[verb](Subcommands(engine, settings, call.misbehave), args)
    call.misbehave_late()
    return status


def _end_run(number: int, _: object) -> None:
    for later in _KILLED_RUN:
        signal.signal(later, signal.SIG_IGN)
    sys.exit(128 + number)  # its machine is removed first


if __name__ == "__main__":  # with the signals of a program that is not Python's
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    while os.open("/dev/null", os.O_RDWR) < 3:  # noqa: PLR2004  (the caller may have closed its streams)
        pass
    sys.exit(main(os.path.dirname(sys.argv[1]), sys.argv[2:]))
