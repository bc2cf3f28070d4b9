"""The entry point: parses the arguments, runs the subcommand, maps errors to exit statuses."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING, NoReturn

from smolkit import runners
from smolkit.cli import spinner
from smolkit.cli.arguments import parse
from smolkit.errors import ExecTimeoutError, SmolvmError
from smolkit.handles.client import Smolvm
from smolkit.values.shown import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

# As `timeout`, `docker run` and shells have them.
_TIMED_OUT = 124
_ENGINE_FAILED = 125
_FAILED = 1
_USAGE = 2
_SIGNALLED = 128  # plus the signal's number
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None, *, runner: runners.Runner | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Default: this process's.
        runner: Runs the engine's commands instead of a SubprocessRunner, in tests.

    Returns:
        The exit status. Of `run` and `shell` it is the command's; 124 if it did not end in time, 125 if the engine failed,
        126 if the command cannot be executed, 127 if it or its workdir is not found. 2 for wrong arguments, 130 after a
        Ctrl-C.
    """
    _open_streams()
    try:
        with _signals_as_interrupts():
            return _run(sys.argv[1:] if arguments is None else arguments, runner)
    except KeyboardInterrupt as error:
        _tell(*getattr(error, "__notes__", ()))  # what may be left
        return _SIGNALLED + (error.number if isinstance(error, _Signal) else signal.SIGINT)


def _run(arguments: Sequence[str], runner: runners.Runner | None) -> int:
    try:
        options = parse(arguments)
        status: int = options.action(_client(options, runner), options)
        sys.stdout.flush()
    except BrokenPipeError:  # `smolkit run ... | head`
        return _SIGNALLED + signal.SIGPIPE
    except (SmolvmError, OSError, ValueError, TypeError) as error:
        _tell(f"smolkit: {error}", *getattr(error, "__notes__", ()))
        return _status(error, options)
    else:
        return status
    finally:
        _drop_unwritten()


def _open_streams() -> None:
    """Open those of the standard streams that the caller has closed: Python has None for them."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (to the end)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: not every encoding has every character


def _drop_unwritten() -> None:
    """Drop what a full disk or a reader that has left does not take: the interpreter's own flush would fail, too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _client(options: Namespace, runner: runners.Runner | None) -> Smolvm:
    if runner is None:
        given = {"program": options.engine, "prefix": options.prefix}
        runner = runners.SubprocessRunner(**given) if options.host is None else runners.SshRunner(options.host, **given)
    return Smolvm(runner=runner, watchdog=options.makes_machines)


class _Signal(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP: each ends the program as Ctrl-C does, so that its machine is deleted."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    def interrupt(number: int, _: object) -> NoReturn:
        spinner.interrupted()
        raise _Signal(number)

    # Those that are ignored stay so: `nohup smolkit run ...`. Only the main thread may set any.
    in_main = threading.current_thread() is threading.main_thread()
    earlier = {number: signal.getsignal(number) for number in _SIGNALS if in_main}
    changed = {number: handler for number, handler in earlier.items() if handler not in {signal.SIG_IGN, None}}
    try:
        for number in changed:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


def _tell(*texts: str) -> None:
    """Print texts that may quote others on stderr; hints name what the command line has instead of the library's calls."""
    with suppress(OSError):
        for text in dict.fromkeys(texts):
            print(re.sub(r"client\.(doctor|ls)\(\)", r"`smolkit \1`", printable(text)), file=sys.stderr)


def _status(error: Exception, options: Namespace) -> int:
    if isinstance(error, (ValueError, TypeError)):
        return _USAGE
    if not options.makes_machines:
        return _FAILED
    return _TIMED_OUT if isinstance(error, ExecTimeoutError) else getattr(error, "shell_status", _ENGINE_FAILED)
