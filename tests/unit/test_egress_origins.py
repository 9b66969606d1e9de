"""Which origins the gate accepts, from the configuration alone."""

from ipaddress import ip_address

import pytest

from drimbox.egress import Egress, Origin, read_origin
from drimbox.errors import Malformed


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://dmp.example/si-dmp-server/v2", Origin("https", "dmp.example", 443)),
        ("HTTPS://DMP.Example:443/", Origin("https", "dmp.example", 443)),
        ("https://dmp.example:8443", Origin("https", "dmp.example", 8443)),
        ("http://[::1]:8080/x", Origin("http", "::1", 8080)),
        ("https://hôpital.example/", Origin("https", "xn--hpital-ixa.example", 443)),
    ],
)
def test_origin_of_a_url(url: str, origin: Origin) -> None:
    assert read_origin(url) == origin


@pytest.mark.parametrize(
    "url", ["", "dmp.example", "ftp://dmp.example", "https://user@dmp.example", "https://a:99999999/", "https://a:0/"]
)
def test_what_is_not_an_origin_is_malformed(url: str) -> None:
    with pytest.raises(Malformed):
        read_origin(url)


@pytest.mark.parametrize("url", ["http://dmp.example/", "http://10.0.0.1/", "http://0.0.0.0/"])
def test_clear_text_is_for_loopback_only(url: str) -> None:
    with pytest.raises(Malformed, match="https"):
        Egress([url])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://127.8.9.1:1/", "http://[::1]:1/", "http://localhost:1/"]
)
def test_loopback_may_be_clear(url: str) -> None:
    Egress([url])


@pytest.mark.parametrize(
    ("address", "listed_as_private", "allowed"),
    [
        ("8.8.8.8", False, True),
        ("2001:4860:4860::8888", False, True),
        ("10.2.3.4", False, False),
        ("10.2.3.4", True, True),
        ("fd12::1", True, True),
        ("::ffff:10.2.3.4", True, True),
        ("127.0.0.1", True, False),
        ("169.254.169.254", True, False),
        ("64:ff9b::a9fe:a9fe", True, False),
        ("224.0.0.1", True, False),
    ],
)
def test_a_private_address_needs_an_origin_listed_as_private(
    address: str, listed_as_private: bool, allowed: bool
) -> None:
    url = "https://proxy.example"
    egress = Egress([url], private=[url] if listed_as_private else [])
    assert egress._may_be(read_origin(url), ip_address(address)) is allowed
