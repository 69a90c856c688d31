"""Which IP addresses a delivery may connect to (contract, section 5). Pure.

`ipaddress.is_global` is no help: it is true for NAT64, 6to4 and multicast addresses, among others,
and changes between Python versions. So the table is written out here, from the IANA registries of
special-purpose addresses (RFC 6890) as of 2025.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from prynt_relay.errors import InvalidFieldError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV4: Final = tuple(
    (ipaddress.IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),  # "this network", RFC 791
        ("10.0.0.0/8", "private"),  # RFC 1918
        ("100.64.0.0/10", "carrier-grade NAT"),  # RFC 6598
        ("127.0.0.0/8", "loopback"),  # RFC 1122
        ("168.63.129.16/32", "a cloud platform's own"),  # Azure's wire server, inside its VMs only
        ("169.254.0.0/16", "link-local"),  # RFC 3927; cloud metadata services too
        ("172.16.0.0/12", "private"),  # RFC 1918
        ("192.0.0.0/24", "reserved for protocols"),  # RFC 6890
        ("192.0.2.0/24", "for documentation"),  # RFC 5737
        ("192.88.99.0/24", "a 6to4 relay"),  # RFC 7526
        ("192.168.0.0/16", "private"),  # RFC 1918
        ("198.18.0.0/15", "for benchmarks"),  # RFC 2544
        ("198.51.100.0/24", "for documentation"),  # RFC 5737
        ("203.0.113.0/24", "for documentation"),  # RFC 5737
        ("224.0.0.0/4", "multicast"),  # RFC 5771
        ("255.255.255.255/32", "broadcast"),  # RFC 919
        ("240.0.0.0/4", "reserved"),  # RFC 1112
    )
)

_IPV6: Final = tuple(
    (ipaddress.IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),  # RFC 4291
        ("::1/128", "loopback"),  # RFC 4291
        ("64:ff9b:1::/48", "a local NAT64"),  # RFC 8215; where it hides the IPv4 part is unknown
        ("100::/64", "discard-only"),  # RFC 6666
        ("100:0:0:1::/64", "a dummy"),  # RFC 9780
        ("2001::/32", "Teredo"),  # RFC 4380
        ("2001:2::/48", "for benchmarks"),  # RFC 5180
        ("2001:10::/28", "ORCHID"),  # RFC 4843
        ("2001:20::/28", "ORCHID"),  # RFC 7343
        ("2001::/23", "reserved for protocols"),  # RFC 2928
        ("2001:db8::/32", "for documentation"),  # RFC 3849
        ("3fff::/20", "for documentation"),  # RFC 9637
        ("5f00::/16", "segment routing"),  # RFC 9602
        ("fc00::/7", "private"),  # unique local, RFC 4193
        ("fe80::/10", "link-local"),  # RFC 4291
        ("fec0::/10", "site-local"),  # RFC 3879
        ("ff00::/8", "multicast"),  # RFC 4291
    )
)

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that is given out to networks so far (RFC 4291, IANA); the rest is reserved."""

# Forms that carry an IPv4 address, with the number of bits that stand behind it.
_EMBEDDING: Final = tuple(
    (ipaddress.IPv6Network(network), shift)
    for network, shift in (
        ("::ffff:0:0/96", 0),  # mapped, RFC 4291
        ("::/96", 0),  # compatible, RFC 4291
        ("64:ff9b::/96", 0),  # NAT64, RFC 6052
        ("2002::/16", 80),  # 6to4, RFC 3056
    )
)


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    for network, shift in _EMBEDDING:
        if address in network:
            return ipaddress.IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
    return None


def _kind_of_ipv4(address: ipaddress.IPv4Address) -> str | None:
    return next((kind for network, kind in _IPV4 if address in network), None)


def _kind_of_ipv6(address: ipaddress.IPv6Address) -> str | None:
    for network, kind in _IPV6:
        if address in network:
            return kind
    if (inner := _embedded_ipv4(address)) is not None:
        inner_kind = _kind_of_ipv4(inner)
        return inner_kind and f"a form of {inner}, {inner_kind}"
    return None if address in _GLOBAL_UNICAST else "reserved"


def special_kind(address: IPAddress) -> str | None:
    """Return what kind of non-public address this is, in a few words; None if it is public.

    IPv4-mapped, IPv4-compatible, 6to4 and NAT64 forms are what the IPv4 address in them is.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return _kind_of_ipv4(address)
    return _kind_of_ipv6(address)


def is_public(address: IPAddress) -> bool:
    """Whether this address can belong to a server on the public Internet."""
    return special_kind(address) is None


class AddressPolicy:
    """The rule as the configuration has it: public addresses and `egress.allow_addresses`."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """Admit the networks `allow`, in CIDR form, besides what is public.

        An allowed IPv4 network does not admit its IPv6-mapped, 6to4 or NAT64 forms: name those
        too where they are wanted. Raises `InvalidFieldError` for a text that is no network.
        """
        self.allowed: tuple[IPNetwork, ...] = tuple(_network(text) for text in allow)

    def refusal(self, address: str | IPAddress) -> str | None:
        """Return why `address` may not be connected to, in a few words, or None if it may.

        A text that is no canonical IP address is refused too.
        """
        if isinstance(address, str):
            try:
                address = ipaddress.ip_address(address)
            except ValueError:
                return "not an IP address"
        if any(address in network for network in self.allowed):
            return None
        return special_kind(address)


def _network(text: str) -> IPNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidFieldError(
            "egress.allow_addresses",
            f'{text!r} is not a network in CIDR form such as "10.1.0.0/16" ({error})',
        ) from None
