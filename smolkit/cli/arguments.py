"""The grammar of the command line."""

from __future__ import annotations

import shlex
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any

from smolkit.cli import machines, running
from smolkit.values import validate

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from smolkit.handles.client import Smolvm

    Action = Callable[[Smolvm, Namespace], int]


def parse(arguments: Sequence[str]) -> Namespace:
    """Parse the arguments; print a usage error and exit with status 2 if they are wrong."""
    # argparse's own treatment of "--" differs between Python's versions.
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    parser = _parser()
    options = parser.parse_args(arguments[:cut])
    options.command = list(arguments[cut + 1 :])
    if options.needs_command and not options.command:
        parser.error(f"{options.verb} needs a command after '--': smolkit {options.verb} -- uname -r")
    if options.command and not options.takes_command:
        parser.error(f"{options.verb} takes no command after '--'")
    of_new = {**running.OF_MACHINES, "env": "--env"}
    if getattr(options, "name", None) and (given := [flag for name, flag in of_new.items() if getattr(options, name)]):
        parser.error(f"{', '.join(given)}: only for a new machine, and {options.name!r} is one that exists")
    if getattr(options, "tty", False) and options.timeout is not None:
        parser.error("--timeout: not with --tty, where the command ends when you end it")
    return options


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        "smolkit",
        description="Hold microVMs: run commands in them, list them, remove those that nobody wants any more.",
        epilog="example: smolkit run --image alpine -- echo hello",
        allow_abbrev=False,
    )
    _add_common(parser, None)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")

    def add(action: Action, name: str, summary: str, example: str, **settings: bool) -> ArgumentParser:
        verb: ArgumentParser = verbs.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example: {example}",
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add_common(verb, SUPPRESS)  # what stands before the subcommand is kept
        defaults = {"needs_command": False, "takes_command": False, "makes_machines": False}
        verb.set_defaults(action=action, **{**defaults, **settings})
        return verb

    _add_doctor(add)
    _add_machines(add)
    _add_running(add)
    return parser


def _add_common(parser: ArgumentParser, default: Any) -> None:
    common = parser.add_argument_group("engine")
    common.add_argument(
        "--engine", metavar="PROGRAM", default=default, help="the smolvm program (default: SMOLKIT_SMOLVM, or on PATH)"
    )
    common.add_argument(
        "--prefix",
        type=_command,
        default=() if default is None else default,
        metavar="COMMAND",
        help="what runs the engine: 'sudo -n', 'docker exec -i box'",
    )


def _add_doctor(add: Callable[..., ArgumentParser]) -> None:
    add(
        machines.doctor,
        "doctor",
        "check whether this host can boot microVMs; exit status 1 if it cannot",
        "smolkit doctor && smolkit run -- uname -r",
    )


def _add_machines(add: Callable[..., ArgumentParser]) -> None:
    ls = add(
        machines.ls, "ls", "list machines: state, age, size and the process that owns each", "smolkit ls --json | jq ."
    )
    ls.add_argument("--json", action="store_true", help="print a JSON array")
    reap = add(
        machines.reap,
        "reap",
        "remove the machines of processes that have ended, and those whose lifetime is over",
        "smolkit reap --dry-run",
    )
    reap.add_argument("--dry-run", action="store_true", help="only print what would be removed, and why")
    top = add(machines.top, "top", "show what running machines use, refreshed until Ctrl-C", "smolkit top --interval 5")
    top.add_argument(
        "--interval", type=_seconds, default=2.0, metavar="SECONDS", help="time between two looks (default: 2)"
    )
    top.add_argument("--once", action="store_true", help="look once, and end")


def _add_running(add: Callable[..., ArgumentParser]) -> None:
    run = add(
        running.run,
        "run",
        "run a command in a machine of its own, which is deleted at its end",
        "smolkit run --image alpine -e NAME=world -- sh -c 'echo hello $NAME'",
        needs_command=True,
        takes_command=True,
        makes_machines=True,
    )
    run.add_argument("-i", "--interactive", action="store_true", help="pass standard input on")
    run.add_argument("-t", "--tty", action="store_true", help="give the command this terminal")
    run.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="kill the command after this time (exit status 124)"
    )
    _add_machine_options(run)
    shell = add(
        running.shell,
        "shell",
        "open a shell: in the machine NAME, or in a machine of its own, which is deleted at its end",
        "smolkit shell agent",
        makes_machines=True,
    )
    shell.add_argument("name", nargs="?", metavar="NAME", help="a machine that runs (default: a new one)")
    _add_machine_options(shell)


def _add_machine_options(parser: ArgumentParser) -> None:
    made = parser.add_argument_group("the new machine", "-p, -v, -e and --secret may be repeated.")
    made.add_argument("--image", help="registry reference, ./archive.tar or ./rootfs/ (default: a bare machine)")
    made.add_argument("--from", dest="from_path", metavar="PACK", help="a .smolmachine pack or .smolcheckpoint")
    made.add_argument("--cpus", type=int, help="virtual processors (default: the engine's, 4)")
    made.add_argument("--memory", type=_size, metavar="MIB", help="memory in MiB, or as 2GiB (default: the engine's, 8192)")
    made.add_argument("--net", action="store_true", default=None, help="allow outbound network access")
    made.add_argument("-p", "--port", dest="ports", action="append", metavar="HOST:GUEST", help="publish a port")
    made.add_argument(
        "-v", "--volume", dest="volumes", action="append", metavar="HOST:GUEST[:ro]", help="mount a directory"
    )
    made.add_argument("-w", "--workdir", help="working directory of commands in the guest, absolute")
    made.add_argument("-e", "--env", action="append", metavar="KEY[=VALUE]", help="environment variable")
    made.add_argument(
        "--secret",
        action="append",
        metavar="KEY",
        help="environment variable, taken from this program's, that `ps` does not show",
    )


def _command(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ArgumentTypeError(f"must be a command as a shell has it: {error}") from None


def _size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _seconds(text: str) -> float:
    try:
        return validate.seconds("seconds", float(text))
    except ValueError:
        raise ArgumentTypeError(f"must be a positive number of seconds, not {text!r}") from None
