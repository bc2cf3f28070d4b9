"""The machines and commands that command lines ask for: their options, and the defaults of a machine's image."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence

from smolkit.testing.arguments import Arguments
from smolkit.testing.engine_failures import EngineFailure, config, usage
from smolkit.testing.machine_records import new_record
from smolkit.testing.namespace import root_fs
from smolkit.testing.namespace.guest_command import Command
from smolkit.testing.namespace.records import Machine
from smolkit.testing.secret_sources import resolve, sources
from smolkit.values.hidden import Hidden
from smolkit.values.port_pairs import port_pairs

ALLOW_LISTS = {"--allow-cidr", "--allow-host", "--remove-allow-cidr", "--remove-allow-host", "--reset-allow-list"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What create and run do, or only note down. All else is refused: a test must not take it for granted.
_DONE = {"--name", "--image", "--net", "--port", "--volume", "-e", "--secret-env", "--secret-file", "--workdir", "--user"}
_NOTED = {"--label", "--cpus", "--mem", "--storage", "--overlay", "--branchable", "--stop-timeout", *ALLOW_LISTS}
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}  # seconds
_OF_THE_CALL = {"-i", "-t", "--timeout", "--detach"}


class _Version:
    """Of the versions that a NamespaceEngine may have, all support what its records and failures depend on."""

    def supports(self, feature: str) -> bool:  # noqa: ARG002
        return True


VERSION = _Version()


def new_machine(engine: str, settings: Mapping[str, str], name: str, args: Arguments) -> Machine:
    """Return a machine as create or run asks for it, which is not on record yet.

    Args:
        engine: The directory of the engine.
        settings: See `Subcommands`.
        name: The machine's name.
        args: The command line.

    Raises:
        EngineFailure: The engine, or NamespaceEngine, would refuse it.
    """
    if refused := sorted(args.options.keys() - _DONE - _NOTED - _OF_THE_CALL):
        raise config(f"NamespaceEngine does not implement {', '.join(refused)}")
    image = args.value("--image")
    data = {
        "record": new_record(name, args, VERSION, int(time.time())),  # type: ignore[arg-type]
        "env": args.pairs("-e"),
        "secrets": sources(args),
        "ports": [pair for text in args.values("--port") for pair in port_pairs(text)],
        "volumes": [_checked_volume(volume) for volume in args.values("--volume")],
        "workdir": args.value("--workdir"),
        "user": args.value("--user"),
        "source": os.path.realpath(image) if image else settings["bare"],
        "cache": settings["cache"],
        "owner": settings["owner"],
    }
    return Machine(engine, name, data)


def command(machine: Machine, words: Sequence[str], environ: Mapping[str, str], workdir: str, user: str) -> Command:
    """Return a command of a machine, which runs where and as whom its image says, unless told otherwise."""
    image = root_fs.image_config(machine)
    return Command(words, environ, workdir or image.get("WorkingDir") or "/", user or image.get("User", ""))


def environ(machine: Machine) -> dict[str, str]:
    """Return the environment of a machine's commands: the image's, the machine's and its secrets; later ones win."""
    image = dict(pair.split("=", 1) for pair in root_fs.image_config(machine).get("Env") or ())
    base = {"PATH": _PATH, "HOME": "/root", "TERM": "linux", "SMOLVM_MACHINE_NAME": machine.name}
    return {**base, **image, **machine.data["env"], **resolved(machine.data["secrets"])}


def resolved(secrets: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the values of secrets. `secrets` has the flag and the source of each."""
    wanted = {name: (flag, source) for name, (flag, source) in secrets.items()}
    env = {key: Hidden(value) for key, value in os.environ.items()}
    return {name: value.reveal() for name, value in resolve(wanted, env).items()}


def seconds(text: str) -> float | None:
    """Return seconds from the engine's notation, `30s` or `1500ms`.

    Raises:
        EngineFailure: It is another one.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not found or not float(found[1]):
        raise usage(f"invalid value '{text}' for '--timeout <DURATION>': time unit needed, for example 5sec or 5ms")
    return float(found[1]) * _UNITS[found[2]]


def _checked_volume(text: str) -> str:
    """Return a volume that a machine can have.

    Raises:
        EngineFailure: There is no such directory, or no place for it.
    """
    source, target, _ = root_fs.split_volume(text)
    if not os.path.exists(source):
        raise EngineFailure("NOT_FOUND", f"mount source not found: {source}")
    if not os.path.isdir(source):
        raise EngineFailure("MOUNT_ERROR", f"mount operation failed: not a directory: {source}")
    if not target.startswith("/"):
        raise EngineFailure("MOUNT_ERROR", f"invalid mount path: {text}")
    return ":".join([os.path.abspath(source), *text.split(":")[1:]])
