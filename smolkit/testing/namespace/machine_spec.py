"""The machines and commands that command lines ask for: their options, and the defaults of a machine's image."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence

from smolkit.testing.arguments import Arguments
from smolkit.testing.engine_failures import EngineFailure, config, usage
from smolkit.testing.machine_records import new_record, update_record
from smolkit.testing.namespace import root_fs
from smolkit.testing.namespace.guest_command import Command
from smolkit.testing.namespace.records import Machine
from smolkit.testing.secret_sources import resolve, sources
from smolkit.values.hidden import Hidden
from smolkit.values.port_pairs import port_pairs

ALLOW_LISTS = {"--allow-cidr", "--allow-host", "--remove-allow-cidr", "--remove-allow-host", "--reset-allow-list"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What is done, or only noted down. All else is refused: a test must not take it for granted.
_DONE = {"--name", "--image", "--net", "--port", "--volume", "-e", "--secret-env", "--secret-file", "--workdir", "--user"}
_NOTED = {"--label", "--cpus", "--mem", "--storage", "--overlay", "--branchable", "--stop-timeout", *ALLOW_LISTS}
_OF_A_PULL = {"--proxy", "--no-proxy"}  # nothing is pulled
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}  # seconds
_OF_THE_CALL = {"-i", "-t", "--timeout", "--detach"}
_OF_A_BRANCH = {"--from", "--name", "--name-prefix", "--count", "--parallel", "--no-wait-ready", "--label", "-e"}
_OF_UPDATE = {"--name", "--cpus", "--mem", "--storage", "--overlay", "--net", "--no-net", "--workdir", "-e", "--remove-env"}
_IMPLEMENTED = {
    "branch": {*_OF_A_BRANCH, "--secret-env", "--secret-file", "--branchable", "--forkable"},
    "create": _DONE | _NOTED | _OF_THE_CALL,
    "run": _DONE | _NOTED | _OF_THE_CALL | _OF_A_PULL,
    "start": {"--name", "--branchable", "--forkable", *_OF_A_PULL},
    "update": {*_OF_UPDATE, *ALLOW_LISTS, "--port", "--remove-port", "--volume", "--remove-volume"},
}


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
    image = args.value("--image")
    data = {
        "record": new_record(name, args, VERSION, int(time.time())),  # type: ignore[arg-type]
        "env": args.pairs("-e"),
        "secrets": sources(args),
        "ports": _port_pairs(args.values("--port")),
        "volumes": [_checked_volume(volume) for volume in args.values("--volume")],
        "workdir": args.value("--workdir"),
        "user": args.value("--user"),
        "source": os.path.realpath(image) if image else settings["bare"],
        "cache": settings["cache"],
        "owner": settings["owner"],
    }
    return Machine(engine, name, data)


def check(verb: str, args: Arguments) -> None:
    """Refuse options that NamespaceEngine does not have.

    Raises:
        EngineFailure: There is one.
    """
    if verb in _IMPLEMENTED and (refused := sorted(args.options.keys() - _IMPLEMENTED[verb])):
        raise config(f"NamespaceEngine does not implement {', '.join(refused)}")


def update_machine(machine: Machine, args: Arguments) -> None:
    """Change what a machine was told, as `machine update` does.

    Raises:
        EngineFailure: A volume cannot be had.
    """
    update_record(machine.record, args)
    data, gone = machine.data, _port_pairs(args.values("--remove-port"))
    data["env"].update(args.pairs("-e"))
    for key in args.values("--remove-env"):
        data["env"].pop(key, None)
    data["ports"] = [pair for pair in data["ports"] if pair not in gone] + _port_pairs(args.values("--port"))
    left = [volume for volume in data["volumes"] if not _is_one_of(volume, args.values("--remove-volume"))]
    data["volumes"] = left + [_checked_volume(volume) for volume in args.values("--volume")]
    data["workdir"] = args.value("--workdir", data["workdir"])
    machine.record.update(ports=len(data["ports"]), mounts=len(data["volumes"]))


def _port_pairs(texts: Sequence[str]) -> list[list[int]]:
    return [[*pair] for text in texts for pair in port_pairs(text)]


def _is_one_of(volume: str, others: Sequence[str]) -> bool:
    places = root_fs.split_volume(volume)[:2]
    return any(places == (os.path.abspath(source), target) for source, target, _ in map(root_fs.split_volume, others))


def command(machine: Machine, words: Sequence[str], environ: Mapping[str, str], workdir: str, user: str) -> Command:
    """Return a command of a machine, which runs where and as whom its image says, unless told otherwise.

    Raises:
        EngineFailure: Its user is not one that a guest of this caller can have.
    """
    image = root_fs.image_config(machine)
    user = user or image.get("User", "")
    if os.geteuid() != 0 and user.partition(":")[0] not in {"", "0", "root"}:
        raise config(f"only root of this host runs commands of NamespaceEngine as another user than root: {user}")
    return Command(words, environ, workdir or image.get("WorkingDir") or "/", user)


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
