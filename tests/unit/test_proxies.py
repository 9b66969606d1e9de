"""Who asks behind proxies: RFC 7239's own examples, and what somebody would write to be taken for another."""

import pytest

from drimbox.portal.proxies import NOBODY, Proxies

OURS = Proxies(["10.0.0.0/24", "127.0.0.1", "2001:db8::/32"])
PEER = ("10.0.0.1", 50000)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("Forwarded: for=192.0.2.43", "192.0.2.43"),
        ("Forwarded: For=192.0.2.43;proto=https;by=203.0.113.43", "192.0.2.43"),
        ("Forwarded: for=203.0.113.9, for=198.51.100.17", "198.51.100.17"),
        ("Forwarded: for=198.51.100.17, for=10.0.0.2", "198.51.100.17"),
        ('Forwarded: for="198.51.100.17:4711"', "198.51.100.17"),
        ('Forwarded: for="[2001:db9:cafe::17]:4711"', "2001:db9:cafe::17"),
        ("Forwarded: for=127.0.0.1, for=198.51.100.17", "198.51.100.17"),
        ("X-Forwarded-For: 127.0.0.1, 198.51.100.17", "198.51.100.17"),
        ("X-Forwarded-For: 198.51.100.17:80", "198.51.100.17"),
        ("X-Forwarded-For: ::ffff:198.51.100.17", "198.51.100.17"),
    ],
)
def test_the_last_that_is_no_proxy_of_ours_asks(header: str, address: str) -> None:
    name, _, value = header.partition(": ")
    assert OURS.client(PEER, [(name.lower().encode(), value.encode())]) == (address, 0)


@pytest.mark.parametrize(
    "value", ["", "for=unknown", "for=_hidden", "for=127.0.0.1", "for=10.0.0.9", "proto=https", "for=a.b", "for=\xff"]
)
def test_a_proxy_that_does_not_say_who_asks_is_nobody(value: str) -> None:
    assert OURS.client(PEER, [(b"forwarded", value.encode("latin-1"))]) == NOBODY
    assert OURS.client(PEER, [(b"forwarded", b"for=192.0.2.1," * 1000)]) == NOBODY


def test_repeated_headers_are_one_chain() -> None:
    headers = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"192.0.2.2")]
    assert OURS.client(PEER, headers) == ("192.0.2.2", 0)


@pytest.mark.parametrize("forwarded", [b"for=127.0.0.1", b"for=192.0.2.7"])
def test_a_header_the_proxy_did_not_write_does_not_speak_for_it(forwarded: bytes) -> None:
    """It wrote the one and let the client's other one through: which is whose cannot be told."""
    site = Proxies(["10.0.0.0/24"])
    headers = [(b"forwarded", forwarded), (b"x-forwarded-for", b"198.51.100.17")]
    assert site.client(PEER, headers) == NOBODY
    assert site.client(PEER, headers[::-1]) == NOBODY


def test_from_anyone_else_the_headers_mean_nothing() -> None:
    headers = [(b"forwarded", b"for=192.0.2.1"), (b"x-forwarded-for", b"192.0.2.1")]
    assert OURS.client(("192.0.2.99", 1), headers) == ("192.0.2.99", 1)
    assert Proxies([]).client(PEER, headers) == PEER
    assert OURS.client(None, headers) is None
