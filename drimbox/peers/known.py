"""Which DRIMbox a manifest may send us to. Pure.

The RetrieveURL (0008,1190) of a manifest is words of somebody else. It is believed only when it lies under the URL of
a peer in the configuration; the request is then built from that root and from UIDs, never from the rest of the URL.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from drimbox.dicom.uid import checked_uid
from drimbox.errors import Denied
from drimbox.settings import KnownPeer

_MOST_CHARACTERS = 1024
# Narrower than RFC 3986 on purpose: no user information, query, fragment, percent-encoding, backslash or empty segment
# can hide another host or path.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~-]+)*)/?",
    re.ASCII | re.IGNORECASE,
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Place:
    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return "/".join((f"{self.scheme}://{self.host}{port}", *self.segments))


def locate(known: Sequence[KnownPeer], retrieve_url: str) -> KnownPeer:
    """The peer a RetrieveURL belongs to, its `url` narrowed to the DICOMweb root: what comes before `/studies`.

    The most precise of several matching peers is taken. Raises Denied when no peer matches, or when the URL is not in
    the plain form a peer's URL has.
    """
    asked = _read_place(retrieve_url.rstrip(" "))  # VR UR may be padded (PS3.5 §6.2)
    if asked is None:
        raise Denied("RetrieveURL", "it is not a plain absolute URL: nothing was called")
    best: tuple[int, str] | None = None
    for peer in known:
        own = _read_place(peer.url)
        if own is not None and _is_under(asked, own):
            best = max(best or (-1, ""), (len(own.segments), peer.name))
    if best is None:
        raise Denied("RetrieveURL", "it is not under a URL of peers.known: nothing was called")
    depth, name = best
    segments = asked.segments
    if "studies" in segments[depth:]:
        segments = segments[: segments.index("studies", depth)]
    return KnownPeer(name=name, url=str(_Place(asked.scheme, asked.host, asked.port, segments)))


def build_series_url(peer: KnownPeer, study_uid: str, series_uid: str) -> str:
    """The WADO-RS resource of a series at `peer`, as `locate` gave it (PS3.18 §10.4.1.1.2). Raises Malformed."""
    return f"{peer.url.rstrip('/')}/studies/{checked_uid(study_uid)}/series/{checked_uid(series_uid)}"


def _is_under(asked: _Place, own: _Place) -> bool:
    """Same origin, and the same segments at the start: `/rs` is not a prefix of `/rs2`."""
    origin = (own.scheme, own.host, own.port)
    return (asked.scheme, asked.host, asked.port) == origin and asked.segments[: len(own.segments)] == own.segments


def _read_place(url: str) -> _Place | None:
    """The normal form of a plain URL, None when it is anything else."""
    match = _URL.fullmatch(url) if len(url) <= _MOST_CHARACTERS else None
    if match is None:
        return None
    scheme = match["scheme"].lower()
    port = int(match["port"] or _DEFAULT_PORTS[scheme])
    segments = tuple(match["path"].split("/")[1:])
    if not 0 < port < 65536 or any(not segment.strip(".") for segment in segments):
        return None
    return _Place(scheme, match["host"].lower(), port, segments)
