"""Who counts as one client, and whose word about an address is believed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.platform.limits.addresses import HOPS_MAX, client_key, client_of

PROXIES = tuple(ipaddress.ip_network(each) for each in ("10.0.0.0/8", "192.0.2.1/32", "fd00::/8"))


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a-socket", "a-socket"),
        ("", ""),
    ],
)
def test_one_client_is_an_address_or_its_64(address: str, key: str):
    assert client_key(address) == key


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_all_addresses_of_a_64_are_one_client_and_the_next_64_is_another(address: ipaddress.IPv6Address, host: int):
    if address.ipv4_mapped is None:
        other = ipaddress.IPv6Address((int(address) >> 64 << 64) | host)
        beside = ipaddress.IPv6Address(int(address) ^ (1 << 64))
        if other.ipv4_mapped is None and beside.ipv4_mapped is None:
            assert client_key(str(address)) == client_key(str(other))
            assert client_key(str(address)) != client_key(str(beside))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "1.2.3.4", "203.0.113.7"),  # no proxy of ours: its word is nothing
        ("10.1.1.1", "1.2.3.4", "1.2.3.4"),
        ("10.1.1.1", "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the left one is what the client itself sent
        ("10.1.1.1", "6.6.6.6, 1.2.3.4, 192.0.2.1, 10.9.9.9", "1.2.3.4"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.1.1.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.1.1.1", "1.2.3.4:4711", "1.2.3.4"),
        ("10.1.1.1", "1.2.3.4, nonsense", "10.1.1.1"),
        ("10.1.1.1", "1.2.3.4, nonsense, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "unknown", "10.1.1.1"),
        ("10.1.1.1", ",,,", "10.1.1.1"),
        ("10.1.1.1", "10.2.2.2", "10.2.2.2"),
        ("::ffff:10.1.1.1", "1.2.3.4", "1.2.3.4"),
        ("a-socket", "1.2.3.4", "a-socket"),
    ],
)
def test_only_trusted_proxies_name_others(peer: str, forwarded: str, client: str):
    assert client_of(peer, forwarded, PROXIES) == client


def test_without_trusted_proxies_nobody_names_others():
    assert client_of("10.1.1.1", "1.2.3.4", ()) == "10.1.1.1"


def test_a_long_header_is_looked_at_from_the_right_only():
    far = ", ".join(["1.2.3.4"] + ["10.0.0.1"] * HOPS_MAX)
    assert client_of("10.1.1.1", far, PROXIES) == "10.0.0.1"
    near = ", ".join(["6.6.6.6"] * 100_000 + ["1.2.3.4"] + ["10.0.0.1"] * (HOPS_MAX - 1))
    assert client_of("10.1.1.1", near, PROXIES) == "1.2.3.4"


@given(st.text(max_size=200), st.sampled_from(["10.1.1.1", "203.0.113.7", "fd00::1"]))
def test_whatever_is_sent_names_the_peer_or_an_address(forwarded: str, peer: str):
    client = client_of(peer, forwarded, PROXIES)
    assert client == peer or ipaddress.ip_address(client.partition("%")[0])
