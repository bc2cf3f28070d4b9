"""Option values with a syntax of their own: sizes, durations, ports, addresses, signals.

Each public function is a reader (see `options.Reader`). The engine's parsers from 1.8.3 to 1.32.2 accept what it returns.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from smolkit.values import validate

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_BYTES = r"(?i)([0-9]+(?:\.[0-9]+)?) ?(?:[kmgt](?:i?b)?|b)?"
_MEMORY = r"(?i)(?=[0-9]{1,19}[kmg]?$)([0-9]+)[kmg]?|(?:[1-9][0-9]?|100)%"
_UNITS = "ms|msec|millis|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?"
_DURATION = rf"(?:[0-9]{{1,9}}(?:\.[0-9]{{1,3}})? ?(?:{_UNITS}) ?)+"
_LONGEST = 200  # characters of an error message
LONGEST_STOP = 300  # seconds that a workload may get to exit
_PORT_RANGE = r"([0-9]{1,5})(?:-([0-9]{1,5}))?"
PORTS = rf"{_PORT_RANGE}(?::{_PORT_RANGE})?(?:/(?:tcp|udp))?"
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


def duration(name: str, value: object) -> tuple[str]:
    """A positive duration: `30s`, `5m`, `1h 30m`."""
    found = _matching(name, value, _DURATION, "'30s' or '5m'")[0]
    if not re.search(r"[1-9]", found):
        raise ValueError(f"{name} must be positive, not {found!r}")
    return (found,)


def image(name: str, value: object) -> tuple[str]:
    """An image reference or a path, as UTF-8, which is all that the engine accepts."""
    found = validate.utf8(name, validate.path(name, value))
    if not found.strip():
        raise ValueError(f"{name} must not be blank")
    return (found,)


def ports(name: str, value: object) -> tuple[str, ...]:
    """A list of ports: an int (for both sides), a pair (host, guest), or the engine's `HOST[-END]:GUEST[-END][/udp]`."""
    return tuple(_port(f"{name}[{place}]", item) for place, item in enumerate(validate.items(name, value)))


def _port(name: str, item: object) -> str:
    if isinstance(item, str):
        return _port_text(name, item)
    numbers = item if isinstance(item, tuple) else (item, item)
    if len(numbers) != 2:  # noqa: PLR2004
        raise ValueError(f"{name} must be a pair (host, guest), not {validate.shown(item)}")
    return ":".join(str(validate.port(f"a port of {name}", number)) for number in numbers)


def _port_text(name: str, text: str) -> str:
    found = _matching(name, text, PORTS, "'8080', '8080:80' or '8000-8010:8000-8010/udp'")
    host = _range(name, found[1], found[2])
    if found[3] and len(_range(name, found[3], found[4])) != len(host):
        raise ValueError(f"{name} must have as many ports on both sides, unlike {text!r}")
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
    found = re.fullmatch(rf"\[([^]]+)\](?::{_PORT_RANGE})?", text) or re.fullmatch(rf"([^:]+)(?::{_PORT_RANGE})?", text)
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
