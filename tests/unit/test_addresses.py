"""Which addresses are public: every boundary of the table, every form that hides an IPv4 one."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prynt_relay.errors import InvalidFieldError
from prynt_relay.transport.addresses import AddressPolicy, is_public, special_kind

# first and last address of each range, and whether what lies just before and after is public
RANGES = [
    ("0.0.0.0", "0.255.255.255", None, True),  # noqa: S104 - nothing is bound to it
    ("10.0.0.0", "10.255.255.255", True, True),
    ("100.64.0.0", "100.127.255.255", True, True),
    ("127.0.0.0", "127.255.255.255", True, True),
    ("168.63.129.16", "168.63.129.16", True, True),
    ("169.254.0.0", "169.254.255.255", True, True),
    ("172.16.0.0", "172.31.255.255", True, True),
    ("192.0.0.0", "192.0.0.255", True, True),
    ("192.0.2.0", "192.0.2.255", True, True),
    ("192.88.99.0", "192.88.99.255", True, True),
    ("192.168.0.0", "192.168.255.255", True, True),
    ("198.18.0.0", "198.19.255.255", True, True),
    ("198.51.100.0", "198.51.100.255", True, True),
    ("203.0.113.0", "203.0.113.255", True, True),
    ("224.0.0.0", "239.255.255.255", True, False),
    ("240.0.0.0", "255.255.255.255", False, None),
    ("::", "::1", None, False),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", False, False),
    ("100::", "100::ffff:ffff:ffff:ffff", False, False),
    ("100:0:0:1::", "100::1:ffff:ffff:ffff:ffff", False, False),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", True, True),
    ("4000::", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", True, False),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("fe00::", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, None),
    # what is neither special nor given out yet, below the one global range
    ("1::", "63:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("64:ff9b:2::", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, False),
    ("101::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", False, True),
]


@pytest.mark.parametrize(("first", "last", "before", "after"), RANGES)
def test_each_range_ends_where_it_should(
    first: str, last: str, before: bool | None, after: bool | None
) -> None:
    """Both ends of a range, its middle and its neighbours fall on the right side."""
    low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
    middle = type(low)((int(low) + int(high)) // 2)
    for address in (low, high, middle):
        assert not is_public(address), address
    if before is not None:
        assert is_public(low - 1) is before
    if after is not None:
        assert is_public(high + 1) is after


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.0", "192.0.1.1",
        "192.31.196.1", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888",
        "2606:4700::1111", "2a00:1450:4001::1", "2000::", "3ffe:ffff::1",
    ],
)  # fmt: skip
def test_ordinary_addresses_are_public(address: str) -> None:
    """Addresses of the Internet's servers are let through."""
    assert special_kind(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.1.2.3", "unspecified"), ("127.0.0.1", "loopback"), ("10.0.0.1", "private"),
        ("100.100.100.200", "carrier-grade NAT"), ("169.254.169.254", "link-local"),
        ("255.255.255.255", "broadcast"), ("240.0.0.1", "reserved"), ("224.0.0.251", "multicast"),
        ("198.18.0.1", "benchmarks"), ("192.0.2.1", "documentation"), ("::", "unspecified"),
        ("::1", "loopback"), ("fd00:ec2::254", "private"), ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"), ("ff02::1", "multicast"), ("2001:0:4136:e378::1", "Teredo"),
        ("2001:10::1", "ORCHID"), ("2001:20::1", "ORCHID"), ("2001:2::1", "benchmarks"),
        ("2001:db8::1", "documentation"), ("3fff::1", "documentation"), ("100::1", "discard"),
        ("64:ff9b:1::808:808", "local NAT64"), ("5f00::1", "segment routing"),
        ("4000::1", "reserved"),
    ],
)  # fmt: skip
def test_the_kind_is_named(address: str, kind: str) -> None:
    """People are told what kind of address was refused."""
    found = special_kind(ipaddress.ip_address(address))
    assert found is not None
    assert kind in found


def forms(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """Mapped, compatible, NAT64, and 6to4 with various interface parts."""
    value = int(address)
    low = (value, 0xFFFF << 32 | value, 0x64_FF9B << 96 | value)
    sixto4 = 0x2002 << 112 | value << 80
    return [ipaddress.IPv6Address(n) for n in (*low, sixto4, sixto4 | 1, sixto4 | 2**80 - 1)]


@given(st.integers(0, 2**32 - 1))
def test_a_form_of_an_ipv4_address_is_what_that_address_is(value: int) -> None:
    """Mapped, compatible, NAT64 and 6to4 forms follow the address in them, for any address."""
    address = ipaddress.IPv4Address(value)
    for form in forms(address):
        if int(form) > 1:  # :: and ::1 are addresses of their own
            assert is_public(form) is is_public(address), form


@pytest.mark.parametrize("edge", [r for r in RANGES if ":" not in r[0]], ids=lambda r: r[0])
def test_forms_follow_at_the_edges_too(edge: tuple[str, str, bool, bool]) -> None:
    """The ends of each IPv4 range are refused in every form."""
    for text in edge[:2]:
        for form in forms(ipaddress.IPv4Address(text)):
            assert not is_public(form), form


@given(st.ip_addresses(v=4))
def test_nothing_that_python_calls_private_is_public(address: ipaddress.IPv4Address) -> None:
    """The table is at least as strict as the standard library's."""
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_nothing_that_python_calls_private_is_public_in_ipv6(
    address: ipaddress.IPv6Address,
) -> None:
    """The same for IPv6; the embedded forms stand apart."""
    if is_public(address) and address in ipaddress.IPv6Network("2000::/3"):
        assert address.is_global or address.sixtofour is not None


def test_allowed_networks_are_admitted_as_they_are_written() -> None:
    """`egress.allow_addresses` admits its networks and nothing beside them, in no other form."""
    policy = AddressPolicy(["127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "::1/128"])
    for address in ("127.0.0.1", "127.255.255.255", "10.1.2.3", "fd12::1", "::1", "8.8.8.8"):
        assert policy.refusal(address) is None
    for address in ("126.0.0.1", "10.2.0.0", "fc00::1", "::2"):
        assert (policy.refusal(address) is None) is (address == "126.0.0.1")
    for address in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::7f00:1"):
        assert policy.refusal(address) is not None
    assert AddressPolicy(["::ffff:127.0.0.0/104"]).refusal("::ffff:127.0.0.1") is None


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f000001", "2130706433", "1.2.3.4:80"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Only canonical spellings are addresses."""
    assert AddressPolicy(["0.0.0.0/0", "::/0"]).refusal(text) == "not an IP address"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "example.com", ""])
def test_what_is_no_network_is_a_clear_mistake(text: str) -> None:
    """The message names the setting and the value."""
    with pytest.raises(InvalidFieldError, match=r"egress\.allow_addresses") as caught:
        AddressPolicy([text])
    assert repr(text) in str(caught.value)
