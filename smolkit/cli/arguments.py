"""The grammar of the command line."""

from __future__ import annotations

import re
import shlex
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from typing import TYPE_CHECKING, Any, NoReturn

from smolkit import __version__
from smolkit.cli import machines, running
from smolkit.values import validate
from smolkit.values.shown import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from smolkit.handles.client import Smolvm

    Action = Callable[[Smolvm, Namespace], int]


def parse(arguments: Sequence[str]) -> Namespace:
    """Parse the arguments; print a usage error and exit with status 2 if they are wrong."""
    # argparse's own treatment of "--" differs between Python's versions.
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, unknown = _parser().parse_known_args(arguments[:cut])
    options.command = list(arguments[cut + 1 :])
    if problem := _problem(options, unknown):
        options.parser.error(problem)
    return options


def _problem(options: Namespace, unknown: Sequence[str]) -> str:
    """The reason why the arguments are wrong, or ""."""
    if unknown and options.takes_command and not unknown[0].startswith("-"):
        return f"the command must be after '--': smolkit {options.verb} -- {unknown[0]} ..."
    if unknown:  # a value may be a secret
        return f"unrecognized arguments: {' '.join(re.sub('(?s)=.*', '=***', word) for word in unknown)}"
    if options.takes_command and not options.command:
        return f"needs a command after '--': smolkit {options.verb} -- uname -r"
    if options.command and not options.takes_command:
        return "takes no command after '--'"
    return _contradiction(options)


def _contradiction(options: Namespace) -> str:
    of_new = {**running.OF_MACHINES, "env": "--env"}
    if getattr(options, "name", None) and (given := [flag for name, flag in of_new.items() if getattr(options, name)]):
        return f"{', '.join(given)}: only for a new machine, and {options.name!r} is one that exists"
    if getattr(options, "tty", False) and options.timeout is not None:
        return "--timeout: not with --tty, where the command ends when you end it"
    return ""


class _Parser(ArgumentParser):
    """A parser whose errors cannot drive the terminal: scripts pass on what others wrote."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def _parser() -> ArgumentParser:
    parser = _Parser(
        "smolkit",
        usage="smolkit [--engine PROGRAM] [--prefix COMMAND] SUBCOMMAND ...",
        description="Run commands in microVMs, list the machines of this host, and remove those that were left behind.",
        epilog="example: smolkit run --image alpine -- echo hello; `smolkit SUBCOMMAND --help` explains each",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"smolkit {__version__}")
    _add_common(parser, None)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="SUBCOMMAND", title="subcommands", prog="smolkit")

    def add(action: Action, name: str, summary: str, example: str, *, end: str = "", **settings: bool) -> ArgumentParser:
        verb: ArgumentParser = verbs.add_parser(
            name,
            usage=f"smolkit {name} [OPTION]...{end}",
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"example: {example}",
            allow_abbrev=False,
        )
        defaults = {"takes_command": False, "makes_machines": False}
        verb.set_defaults(action=action, parser=verb, **{**defaults, **settings})
        return verb

    _add_doctor(add)
    _add_machines(add)
    _add_running(add)
    for verb in verbs.choices.values():
        _add_common(verb, SUPPRESS)  # what stands before the subcommand is kept
    return parser


def _add_common(parser: ArgumentParser, default: Any) -> None:
    common = parser.add_argument_group("the engine")
    common.add_argument(
        "--engine",
        metavar="PROGRAM",
        default=default,
        help="the smolvm program (default: $SMOLKIT_SMOLVM, smolvm on PATH, or that of smolkit[engine])",
    )
    common.add_argument(
        "--host",
        default=default,
        help="the host of the engine, as ssh knows it (default: this one); paths of --from and --volume are that host's",
    )
    common.add_argument(
        "--prefix",
        type=_command,
        default=() if default is None else default,
        metavar="COMMAND",
        help="a command that runs the engine, such as 'sudo -n' (default: none)",
    )


def _add_doctor(add: Callable[..., ArgumentParser]) -> None:
    add(
        machines.doctor,
        "doctor",
        "check if this host can boot microVMs, and say what is missing; exit status 1 if it cannot",
        "smolkit doctor && smolkit run -- uname -r",
    )


def _add_machines(add: Callable[..., ArgumentParser]) -> None:
    ls = add(
        machines.ls,
        "ls",
        "list all machines with their state, age and size, and the process that made each",
        "smolkit ls --json | jq -r '.[].name'",
    )
    ls.add_argument("--json", action="store_true", help="print a JSON array, with the labels of each machine, too")
    reap = add(
        machines.reap,
        "reap",
        "remove machines that smolkit made and nobody needs: their process has ended, or their lifetime is over",
        "smolkit reap --dry-run",
    )
    reap.add_argument("--dry-run", action="store_true", help="only print what would be removed, and why")
    top = add(
        machines.top, "top", "show the processors and memory that running machines use, until Ctrl-C", "smolkit top --once"
    )
    top.add_argument("--interval", type=_seconds, default=2.0, metavar="SECONDS", help="pause between tables (default: 2)")
    top.add_argument("--once", action="store_true", help="print one table, and exit")


def _add_running(add: Callable[..., ArgumentParser]) -> None:
    run = add(
        running.run,
        "run",
        "run a command in a new machine, and delete the machine when it ends",
        "smolkit run --image alpine -e NAME=world -- sh -c 'echo hello $NAME'",
        end=" -- COMMAND [ARGUMENT]...",
        takes_command=True,
        makes_machines=True,
    )
    run.description = (
        f"{run.description} Its output comes as it is, byte for byte: what it writes can drive this terminal. The exit "
        "status is the command's, or 124 after --timeout, 125 if the engine failed, 126 if the command cannot be executed, "
        "127 if it is not found, 130 after Ctrl-C."
    )
    run.add_argument("-i", "--interactive", action="store_true", help="let the command read this program's standard input")
    run.add_argument("-t", "--tty", action="store_true", help="connect the command to this terminal: for editors, REPLs")
    run.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="kill the command after this time (default: never)"
    )
    _add_machine_options(run)
    shell = add(
        running.shell,
        "shell",
        "open a shell in a running machine, or in a new one that is deleted when the shell ends",
        "smolkit shell agent",
        end=" [NAME]",
        makes_machines=True,
    )
    shell.add_argument("name", nargs="?", metavar="NAME", help="a running machine (default: a new one)")
    _add_machine_options(shell)


def _add_machine_options(parser: ArgumentParser) -> None:
    made = parser.add_argument_group("the new machine", "-p, -v, -e and --secret may be repeated.")
    made.add_argument(
        "--image",
        metavar="IMAGE",
        help="image in a registry (alpine:3.20), archive (./image.tar) or directory (./rootfs/) to make it from "
        "(default: none, the engine's own small Linux)",
    )
    made.add_argument("--from", dest="from_path", metavar="PACK", help="a .smolmachine or .smolcheckpoint to make it from")
    made.add_argument("--cpus", type=int, metavar="NUMBER", help="virtual processors (default: the engine's, 4)")
    made.add_argument(
        "--memory", type=_size, metavar="SIZE", help="memory: 512 (in MiB), or 2GiB (default: the engine's, 8GiB)"
    )
    made.add_argument("--net", action="store_true", default=None, help="let it reach the network (default: it cannot)")
    made.add_argument(
        *("-p", "--port"),
        dest="ports",
        action="append",
        metavar="HOST:GUEST",
        help="forward a port of this host to it, as 8080:80",
    )
    made.add_argument(
        *("-v", "--volume"),
        dest="volumes",
        action="append",
        metavar="HOST:GUEST[:ro]",
        help="mount a directory of this host in it, as ./src:/src:ro",
    )
    made.add_argument("-w", "--workdir", metavar="PATH", help="absolute path in which the command starts")
    made.add_argument(
        *("-e", "--env"),
        action="append",
        metavar="KEY[=VALUE]",
        help="environment variable; without a value, that of this program",
    )
    made.add_argument(
        "--secret",
        action="append",
        metavar="KEY",
        help="environment variable of this program that the command gets, and that no process list or error shows",
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
