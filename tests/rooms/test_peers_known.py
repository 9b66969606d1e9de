"""Which RetrieveURL leads to which peer, and which lead nowhere."""

import pytest

from drimbox.errors import Denied, Malformed
from drimbox.peers.known import build_series_url, locate
from drimbox.settings import KnownPeer

NORTH = KnownPeer(name="north", url="https://db1.north.example/")
SOUTH = KnownPeer(name="south", url="https://db1.south.example:8443/drim/rs")
EAST = KnownPeer(name="east", url="https://gateway.example/east")
EAST_NEW = KnownPeer(name="east-new", url="https://gateway.example/east/new/")
KNOWN = (NORTH, SOUTH, EAST, EAST_NEW)


@pytest.mark.parametrize(
    ("retrieve_url", "name", "root"),
    [
        ("https://db1.north.example/rs/studies/1.2", "north", "https://db1.north.example/rs"),
        ("https://db1.north.example/rs/studies/1.2/series/3.4", "north", "https://db1.north.example/rs"),
        ("https://db1.north.example/rs/", "north", "https://db1.north.example/rs"),
        ("https://db1.north.example", "north", "https://db1.north.example"),
        ("HTTPS://DB1.North.Example:443/rs/studies/1.2 ", "north", "https://db1.north.example/rs"),
        ("https://db1.south.example:8443/drim/rs/studies/1", "south", "https://db1.south.example:8443/drim/rs"),
        ("https://gateway.example/east/rs/studies/1", "east", "https://gateway.example/east/rs"),
        ("https://gateway.example/east/new/rs/studies/1", "east-new", "https://gateway.example/east/new/rs"),
    ],
)
def test_a_known_peer_is_found(retrieve_url: str, name: str, root: str) -> None:
    assert locate(KNOWN, retrieve_url) == KnownPeer(name=name, url=root)


@pytest.mark.parametrize(
    "retrieve_url",
    [
        "",
        "https://elsewhere.example/rs/studies/1.2",
        "http://db1.north.example/rs/studies/1.2",
        "https://db1.north.example:8443/rs",
        "https://db1.north.example.evil.example/rs",
        "https://db1.north.example@evil.example/rs",
        "https://evil.example#db1.north.example/rs",
        "https://user:pass@db1.north.example/rs",
        "https://db1.north.example\\@evil.example/rs",
        "https://db1.north.example/rs?next=https://evil.example",
        "https://db1.north.example/rs#x",
        "https://db1.north.example/%2e%2e/rs",
        "https://db1.south.example:8443/drim/rs/../../admin",
        "https://db1.south.example:8443/drim/rs/./x",
        "https://db1.south.example:8443/drim/rs/.../x",
        "https://db1.south.example:8443/drim/rs2/studies/1",
        "https://db1.south.example:8443/drim",
        "https://db1.south.example/drim/rs",
        "https://gateway.example//east/rs",
        "https://gateway.example/EAST/rs",
        "https://db1.north.example./rs",
        "https://db1.north.example:0443x/rs",
        "https://db1.north.example:0/rs",
        "https://db1.north.example:99999/rs",
        "https://db1.nоrth.example/rs",  # a Cyrillic o
        "https://db1.north.example/rs\r\nX: y",
        "https://db1.north.example/rs\n",
        "ftp://db1.north.example/rs",
        "//db1.north.example/rs",
        "file:///etc/passwd",
        "https://db1.north.example/" + "a" * 2000,
    ],
)
def test_anything_else_is_denied(retrieve_url: str) -> None:
    with pytest.raises(Denied) as refused:
        locate(KNOWN, retrieve_url)
    assert "evil" not in str(refused.value)


def test_nobody_known_nobody_called() -> None:
    with pytest.raises(Denied):
        locate((), "https://db1.north.example/rs/studies/1.2")


def test_the_series_url_is_built_from_the_root_and_the_uids() -> None:
    peer = locate(KNOWN, "https://db1.north.example/rs/studies/9.9/series/9.9/instances/9.9")
    assert build_series_url(peer, "1.2", "3.4") == "https://db1.north.example/rs/studies/1.2/series/3.4"
    for uid in ("../1", "1.2/series", "1.2?x", "", "1" * 65):
        with pytest.raises(Malformed):
            build_series_url(peer, uid, "3.4")
        with pytest.raises(Malformed):
            build_series_url(peer, "1.2", uid)
