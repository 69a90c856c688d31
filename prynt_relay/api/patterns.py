"""Regular expressions of the OpenAPI document, exact wherever one can be.

They keep to what all dialects have: no lookaround, which RE2 (Go's, for one) refuses, and no escape
of what needs none, which ECMAScript refuses in its Unicode mode.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

from prynt_relay.api.operations import Schema
from prynt_relay.model.durations import MAX_DIGITS, UNIT_MS

_YEAR: Final = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_FOURTH: Final = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR: Final = f"(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
_DAYS: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME: Final = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]{1,9})?)?"
CREATED_AT: Final = rf"^(?:{_YEAR}-{_DAYS}|{_LEAP_YEAR}-02-29)T{_TIME}(?:Z|\+00:00)$"
"""What `createdAt` of an event may be: the days that exist, and no others."""

_LABEL: Final = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
# Whose last label is a number, is an address to others (WHATWG's URL standard, inet_aton).
_LAST_LABEL: Final = (
    "(?:[A-Za-z_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    "|[0-9]+(?:[A-Za-z_]|[A-Za-z_-][A-Za-z0-9_-]*[A-Za-z0-9_]))"
)
_DOMAIN: Final = rf"(?:{_LABEL}\.)+{_LAST_LABEL}\.?"
_BEYOND_ASCII: Final = r"[A-Za-z0-9_.-]*[^\x00-\x7f](?:[A-Za-z0-9_.-]|[^\x00-\x7f])*"
"""Of names that IDNA encodes only which characters: its tables fit no pattern."""
_BYTE: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV6: Final = r'\[[0-9A-Fa-f:.]{2,45}(?:%[^\x00-\x20\x7f\\<>"^`{|}\[\]/?#@]*)?\]'
_PORT: Final = (
    "(?::(?:0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}"
    "|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?)?"
)
_REST: Final = r'(?:[/?][^\x00-\x20\x7f\\<>"^`{|}#]*)?'
_END: Final = "(?:[:/?]|$)"
_TOO_LONG: Final = (
    rf"[A-Za-z0-9_.-]{{255}}|[A-Za-z0-9_.-]{{253}}[A-Za-z0-9_-]{_END}"
    r"|(?:[A-Za-z0-9_.-]*\.)?[A-Za-z0-9_-]{64}"
)
_HEXADECIMAL: Final = rf"[A-Za-z0-9_.-]*\.0[xX][0-9A-Fa-f]*\.?{_END}"
_LOCALHOST: Final = rf"(?:[A-Za-z0-9_.-]*\.)?[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]\.?{_END}"


def duration(least_ms: int, most_ms: int) -> str:
    """Return a pattern of the durations from `least_ms` to `most_ms`, however they are written."""
    choices = []
    for unit, unit_ms in UNIT_MS.items():
        low = -(-least_ms // unit_ms)
        high = min(most_ms // unit_ms, 10**MAX_DIGITS - 1)
        if low <= high:
            choices.append(f"(?:{'|'.join(_whole_numbers(low, high))}){unit}")
    return f"^(?:{'|'.join(choices)})$"


def _whole_numbers(low: int, high: int) -> Iterator[str]:
    """Patterns that together match the numbers from `low` to `high`, with zeros before them."""
    for length in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (length - 1) if length > 1 else 0)
        most = min(high, 10**length - 1)
        zeros = "" if length == MAX_DIGITS else f"0{{0,{MAX_DIGITS - length}}}"
        for digits in _of_one_length(str(least), str(most)):
            yield zeros + digits


def _of_one_length(low: str, high: str) -> Iterator[str]:
    if set(low) <= {"0"} and set(high) <= {"9"}:
        yield "" if not low else "[0-9]" if len(low) == 1 else f"[0-9]{{{len(low)}}}"
        return
    first, last = int(low[0]), int(high[0])
    rest = len(low) - 1
    if first == last:
        yield from (low[0] + digits for digits in _of_one_length(low[1:], high[1:]))
        return
    if set(low[1:]) - {"0"}:
        yield from (low[0] + digits for digits in _of_one_length(low[1:], "9" * rest))
        first += 1
    tail: list[str] = []
    if set(high[1:]) - {"9"}:
        tail = [high[0] + digits for digits in _of_one_length("0" * rest, high[1:])]
        last -= 1
    if first <= last:
        [anything] = _of_one_length("0" * rest, "9" * rest)
        yield (str(first) if first == last else f"[{first}-{last}]") + anything
    yield from tail


def url(*, allow_http: bool, allow_addresses: Sequence[str]) -> Schema:
    """Return what a webhook's URL may be, under an installation's endpoint rules.

    Exact but for two things: names beyond ASCII, and networks that end within a byte or are IPv6.
    """
    networks = [ipaddress.ip_network(text) for text in allow_addresses]
    hosts = [_DOMAIN, _BEYOND_ASCII, *dict.fromkeys(map(_literal, networks))]
    scheme = "[Hh][Tt][Tt][Pp][Ss]" + ("?" if allow_http else "")
    loopback = ipaddress.ip_address("127.0.0.1")
    refused = [_TOO_LONG, _HEXADECIMAL]
    if not any(loopback in network for network in networks if network.version == 4):
        refused.append(_LOCALHOST)
    return {
        "pattern": f"^{scheme}://(?:{'|'.join(hosts)}){_PORT}{_REST}$",
        "not": {"pattern": f"^[^/]*//(?:{'|'.join(refused)})"},
    }


def _literal(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Return a pattern of the addresses in a network, exact to whole bytes of IPv4.

    Of IPv6 anything that looks like an address: each has many spellings.
    """
    if isinstance(network, ipaddress.IPv6Network):
        return _IPV6
    fixed = network.network_address.packed[: network.prefixlen // 8]
    return r"\.".join([*map(str, fixed), *[_BYTE] * (4 - len(fixed))])
