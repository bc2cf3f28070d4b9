"""Option values with a syntax of their own: sizes, durations, ports, addresses, signals.

Each public function is a reader (see `options.Reader`). The engine's parsers from 1.8.3 to 1.32.2 accept what it returns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from smolkit.values import validate
from smolkit.values.ownership import OWN_LABELS
from smolkit.values.port_pairs import PORT_RANGE, PORTS
from smolkit.values.shown import without_users

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_BYTES = r"(?i)([0-9]+(?:\.[0-9]+)?) ?(?:[kmgt](?:i?b)?|b)?"
_MEMORY = r"(?i)(?=[0-9]{1,19}[kmg]?$)([0-9]+)[kmg]?|(?:[1-9][0-9]?|100)%"
_UNITS = "ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?"
_DURATION = rf"(?:[0-9]{{1,9}}(?:\.[0-9]{{1,3}})? ?(?:{_UNITS}) ?)+"
_LONGEST = 200  # characters of an error message
LONGEST_STOP = 300  # seconds that a workload may get to exit
_VOLUME = r"(?:[a-z0-9]+://.+(?=:/)|[^:]+):([^:]+)(?::([^:]*))?"
_VOLUME_MODES = ("ro", "rw", "staged")
_MOST: dict[str, range] = {"ndots": range(16), "timeout": range(1, 31), "attempts": range(1, 6)}
_FLAGS = r"rotate|no-check-names|inet6|edns0|single-request(?:-reopen)?|no-tld-query|use-vc|no-reload|trust-ad|no-aaaa"
_SIGNALS = (
    r"(?i)(?:SIG)?(?:HUP|INT|QUIT|ILL|TRAP|ABRT|BUS|FPE|KILL|USR1|SEGV|USR2|PIPE|ALRM|TERM|STKFLT|CHLD|CONT|STOP|TSTP|TTIN|"
    r"TTOU|URG|XCPU|XFSZ|VTALRM|PROF|WINCH|IO|PWR|SYS|RTMIN(?:\+(?:30|[12]?[0-9]))?)|[1-9]|[1-5][0-9]|6[0-4]"
)


def _wrong(name: str, value: object, example: str) -> ValueError:
    return ValueError(f"{name} must be like {example}, not {validate.shown(value)}")


def _matching(name: str, value: object, pattern: str, example: str) -> re.Match[str]:
    found = re.fullmatch(pattern, validate.text(name, value))
    if not found:
        raise _wrong(name, value, example)
    return found


_Converter = Callable[[str, object], tuple[str]]
_Reader = Callable[[str, object], tuple[str, ...]]


def _size(pattern: str, example: str) -> _Converter:
    def read(name: str, value: object) -> tuple[str]:
        if isinstance(value, int):
            return (str(validate.integer(name, value, 1, 2**63 - 1)),)
        found = _matching(name, value, pattern, example)
        if found[1] and float(found[1]) < 1:
            raise _wrong(name, value, example)
        return (found[0],)

    return read


size: _Converter = _size(_BYTES, "'512M' or '16GiB'")  # an int is a number of bytes
memory_size: _Converter = _size(_MEMORY, "'512m', '2g' or '25%'")  # likewise; a percentage is a share of the guest's memory


_EXPONENTS = {"K": 10, "M": 20, "G": 30, "T": 40}
_LAST_SIZE = 2**16  # GiB: a number of bytes, or of KiB, is larger


def quantity(unit: str, low: int) -> _Converter:
    """Make a reader of sizes that the engine takes in MiB or GiB: an int in that unit, or a str with a unit of its own."""
    size, high = 2 ** _EXPONENTS[unit[0]], _LAST_SIZE * 2**30 // 2 ** _EXPONENTS[unit[0]]
    example = "'512M' or '2GiB'" if unit == "MiB" else "'20G'"

    def read(name: str, value: object) -> tuple[str]:
        if isinstance(value, str):
            found = re.fullmatch(r"(?i)([0-9]{1,15}) ?([KMGT])(?:i?B)?", validate.text(name, value))
            if not found:
                raise ValueError(
                    f"{name} must be an int of {unit}, or a str such as {example}, not {validate.shown(value)}"
                )
            value, rest = divmod(int(found[1]) << _EXPONENTS[found[2].upper()], size)
            if rest:
                raise ValueError(f"{name} must be a whole number of {unit}, from {low} on, not {found[0]!r}")
        elif isinstance(value, int) and value > high:
            raise ValueError(f"{name} must be in {unit}, not in bytes: {value // size} for {validate.shown(value)} bytes")
        return (str(validate.integer(name, value, low, high)),)

    return read


mebibytes: _Converter = quantity("MiB", 64)
gibibytes: _Converter = quantity("GiB", 1)


def labels(name: str, value: object) -> tuple[str, ...]:
    """A mapping of labels, as KEY=VALUE each. smolkit's own tell whose a machine is, and cannot be given."""
    found = validate.pairs(name, value)
    if own := [key for key, _ in found if key.startswith(OWN_LABELS)]:
        raise ValueError(f"{name} must not have {own[0]!r}: labels that begin with {OWN_LABELS!r} are smolkit's own")
    return tuple(f"{key}={item}" for key, item in found)


def duration(name: str, value: object) -> tuple[str]:
    """A positive duration: `30s`, `5m`, `1h 30m`."""
    found = _matching(name, value, _DURATION, "'30s' or '5m'")[0]
    if not re.search(r"[1-9]", found):
        raise ValueError(f"{name} must be positive, not {found!r}")
    return (found,)


def image(name: str, value: object) -> tuple[str]:
    """An image reference or a path, as UTF-8, which is all that the engine accepts.

    A str is what the engine takes it for: a path if it has a `./` or a `/` before it. An os.PathLike is a path, made
    absolute, since pathlib drops the `./`.
    """
    found = validate.utf8(name, (validate.path if isinstance(value, str) else validate.absolute)(name, value))
    if not found.strip():
        raise ValueError(f"{name} must not be blank")
    return (found,)


def ports(name: str, value: object) -> tuple[str, ...]:
    """Ports: {host: guest}, or a list of ints (for both sides), pairs (host, guest) and the engine's `HOST:GUEST[/udp]`."""
    if isinstance(value, Mapping):
        return tuple(_mapped_port(name, host, guest) for host, guest in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if isinstance(value, tuple) and [type(item) for item in value] == [int, int]:
        raise ValueError(f"{name} must be unambiguous: write [{value}] for (host, guest), or {[*value]} for two ports")
    return tuple(_port(f"{name}[{place}]", item) for place, item in enumerate(validate.items(name, value)))


def _mapped_port(name: str, host: object, guest: object) -> str:
    if not all(isinstance(port, int) and not isinstance(port, bool) for port in (host, guest)):
        raise TypeError(
            f"{name} must be {{host: guest}} of ints, such as {{8080: 80}}, not {{{host!r}: {guest!r}}}"[:_LONGEST]
            + ": for UDP or a range write ['8080:80/udp']"
        )
    return _port(name, (host, guest))


def _port(name: str, item: object) -> str:
    if isinstance(item, str):
        return _port_text(name, item)
    if isinstance(item, Mapping):
        raise TypeError(f"{name} must be a pair (host, guest), not {validate.shown(item)}")
    numbers = item if isinstance(item, (tuple, list)) else (item, item)
    if len(numbers) != 2:  # noqa: PLR2004
        raise ValueError(f"{name} must be a pair (host, guest), not {validate.shown(item)}")
    return ":".join(str(validate.port(f"a port of {name}", number)) for number in numbers)


def _port_text(name: str, text: str) -> str:
    found = _matching(name, text, PORTS, "'8080', '8080:80' or '8000-8010:8000-8010/udp'")
    host = _range(name, found[1], found[2])
    if found[3] and len(_range(name, found[3], found[4])) != len(host):
        raise ValueError(f"{name} must have as many ports on both sides, unlike {text!r}")
    return text


def _volumes_reader(*, alone: bool) -> _Reader:
    """Make a reader of {host: guest} or {host: (guest, mode)}, or a list of (host, guest[, mode]) and `HOST:GUEST[:mode]`.

    The mode is "ro", "rw" or "staged". A host path that is an os.PathLike is made absolute. With `alone` a guest path
    without a host path is accepted, too.
    """

    def read(name: str, value: object) -> tuple[str, ...]:
        if isinstance(value, Mapping):
            return tuple(_volume(name, _mapped_volume(name, host, guest)) for host, guest in value.items())
        if isinstance(value, tuple) and not alone and _is_pair(value):
            raise ValueError(f"{name} must be a list: write [{validate.shown(value)}]")
        items = validate.items(name, value)
        return tuple(_volume(f"{name}[{place}]", item, alone=alone) for place, item in enumerate(items))

    return read


volumes: _Reader = _volumes_reader(alone=False)
added_volumes: _Reader = _volumes_reader(alone=True)  # a guest path alone is on the machine's own disk


def _is_pair(value: tuple[object, ...]) -> bool:
    """True for (host, guest) by itself, which was meant as one volume."""
    return bool(value) and all(
        isinstance(item, os.PathLike) or (isinstance(item, str) and ":" not in item) for item in value
    )


def _mapped_volume(name: str, host: object, guest: object) -> tuple[object, ...]:
    if isinstance(guest, Mapping):
        raise TypeError(f"{name} must be {{host: guest}}, or with a mode such as {{'/src': ('/dst', 'ro')}}, not {guest!r}")
    if isinstance(guest, str) and ":" in guest:
        return (host, *guest.split(":", 1))
    return (host, *guest) if isinstance(guest, (tuple, list)) else (host, guest)


def _volume(name: str, item: object, *, alone: bool = False) -> str:
    if isinstance(item, str):
        return item if alone and re.fullmatch("/[^:]*", item) else _volume_text(name, item)
    if not isinstance(item, (tuple, list)):
        raise TypeError(f"{name} must be (host, guest) or 'HOST:GUEST[:ro]', not {validate.shown(item)}")
    if len(item) not in {2, 3}:
        raise ValueError(f"{name} must be (host, guest) or (host, guest, mode), not {validate.shown(item)}")
    host = (validate.text if isinstance(item[0], str) else validate.absolute)(f"the host path of {name}", item[0])
    if ":" in host:
        raise ValueError(
            f"the host path of {name} must not contain ':', at which the engine splits: {validate.shown(host)}"
        )
    guest = validate.guest_path(f"the guest path of {name}", item[1])
    return _volume_text(name, ":".join((host, guest, *(validate.text(f"the mode of {name}", mode) for mode in item[2:]))))


def _volume_text(name: str, text: str) -> str:
    found = re.fullmatch(_VOLUME, validate.text(name, text))
    if not found:
        raise _wrong(name, without_users(text), "'HOST:GUEST' or 'HOST:GUEST:ro'")
    validate.guest_path(f"the guest path of {name}", found[1])
    if found[2] not in {None, *_VOLUME_MODES}:
        raise ValueError(f"the mode of {name} must be one of {', '.join(map(repr, _VOLUME_MODES))}, not {found[2]!r}")
    return text


def _range(name: str, first: str, last: str | None) -> range:
    low, high = (validate.port(f"a port of {name}", int(port)) for port in (first, last or first))
    if low > high:
        raise ValueError(f"the range of {name} must not go backwards: {first}-{last}")
    return range(low, high + 1)


def network(text: str) -> IPv4Network | IPv6Network:
    """Parse a CIDR or a single address.

    Raises:
        ValueError: the text is neither.
    """
    from ipaddress import ip_network  # late: only where there is a policy

    if "%" in text:
        raise ValueError(f"a network must not have a zone: {validate.shown(text)}")
    return ip_network(text, strict=False)


def cidrs(name: str, value: object) -> tuple[str, ...]:
    """A list of networks or addresses."""
    return tuple(_cidr(f"{name}[{place}]", item) for place, item in enumerate(validate.strings(name, value)))


def _cidr(name: str, text: str) -> str:
    try:
        return str(network(text))
    except ValueError as error:
        raise ValueError(f"{name}: {error}"[:_LONGEST]) from None


def udp_rules(name: str, value: object) -> tuple[str, ...]:
    """A list of networks or addresses, each with an optional port or range of ports: `10.0.0.0/8:53`."""
    return tuple(_udp_rule(f"{name}[{place}]", item) for place, item in enumerate(validate.strings(name, value)))


def _udp_rule(name: str, text: str) -> str:
    found = re.fullmatch(rf"\[([^]]+)\](?::{PORT_RANGE})?", text) or re.fullmatch(rf"([^:]+)(?::{PORT_RANGE})?", text)
    _, slash, mask = (host := found[1] if found else text).partition("/")
    try:
        network(host)
        if slash and not re.fullmatch(r"[0-9]{1,3}", mask):
            raise _wrong(name, text, "'10.0.0.0/8:53'")
    except ValueError:
        raise _wrong(name, text, "'10.0.0.0/8:53' or '[fd00::/8]:53-60'") from None
    if found and found[2]:
        _range(name, found[2], found[3])
    return text


def ipv4(name: str, value: object) -> tuple[str]:
    """An IPv4 address."""
    from ipaddress import IPv4Address  # late: rarely needed

    try:
        return (str(IPv4Address(validate.text(name, value))),)
    except ValueError:
        raise _wrong(name, value, "'9.9.9.9'") from None


def subnet(name: str, value: object) -> tuple[str]:
    """An IPv4 network from /8 to /30 outside of the reserved ranges."""
    from ipaddress import IPv4Network  # late: rarely needed

    found = _matching(name, value, r"[0-9.]+/[0-9]{1,2}", "'10.200.0.0/30'")[0]
    try:
        net = IPv4Network(found)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    first = net.network_address
    if not 8 <= net.prefixlen <= 30 or first < IPv4Network("1.0.0.0/8")[0]:  # noqa: PLR2004
        raise ValueError(f"{name} must be from /8 to /30, and not in 0.0.0.0/8: {found!r}")
    if first.is_loopback or first.is_link_local or first.is_multicast or first.is_reserved:
        raise ValueError(f"{name} must not be in a reserved range: {found!r}")
    return (found,)


def socket_address(name: str, value: object) -> tuple[str]:
    """An IP address with a port, `127.0.0.1:9000` or `[::1]:9000`. Host names are refused."""
    from ipaddress import IPv4Address, IPv6Address  # late: rarely needed

    found = _matching(name, value, r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", "'127.0.0.1:9000'")
    try:
        (IPv6Address if found[1] else IPv4Address)(found[1] or found[2])
    except ValueError:
        raise _wrong(name, value, "'127.0.0.1:9000' or '[::1]:9000'") from None
    validate.integer(f"the port of {name}", int(found[3]), 0, validate.PORTS[-1])
    return (found[0],)


def dns_options(name: str, value: object) -> tuple[str, ...]:
    """The options of resolv.conf that the engine knows (1.32.2)."""
    found = validate.strings(name, value)
    for item in found:
        key, _, number = item.partition(":")
        numbered = re.fullmatch("[0-9]{1,3}", number) and int(number) in _MOST.get(key, ())
        if not (numbered or re.fullmatch(_FLAGS, item)):
            raise _wrong(name, item, "'timeout:1', 'ndots:2' or 'use-vc'")
    return found


def signal_name(name: str, value: object) -> tuple[str]:
    """A signal: `SIGINT`, `TERM`, `RTMIN+3`, or a number as text."""
    return (_matching(name, value, _SIGNALS, "'SIGTERM', 'RTMIN+3' or '15'")[0],)
