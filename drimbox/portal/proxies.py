"""Who asks, when a proxy of ours stands in between (RFC 7239, and the older X-Forwarded-For). Pure.

Believed from configured proxies only, and from them about the address alone: host, scheme and prefix of what the node
is called come from the configuration, so that no header leads a manifest or an answer elsewhere.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_MOST_CHARACTERS = 4096
_FOR = re.compile(r'for\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_PORT = re.compile(r"\[([^\]]+)\](?::\w+)?|([0-9.]+):\w+")

Client = tuple[str, int]
NOBODY: Client = ("", 0)
"""A proxy that does not say whom it speaks for: never itself, which may be this machine."""


class Proxies:
    """Those we believe. networks: addresses, or networks as CIDR."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client(self, peer: Client | None, headers: Iterable[tuple[bytes, bytes]]) -> Client | None:
        """Who asks: the last one in the chain that is no proxy of ours. peer: the other end of the socket."""
        if peer is None or not self._is_ours(_read(peer[0])):
            return peer
        for told in reversed(_chain(headers)):
            address = _read(told)
            if address is None:
                return NOBODY
            if not self._is_ours(address):
                return str(address), 0
        return NOBODY

    def _is_ours(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _chain(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The addresses told, the first one farthest from us.

    None where both headers are there: a proxy that writes one lets the client's own other one through.
    """
    told = {b"forwarded": "", b"x-forwarded-for": ""}
    for name, value in headers:
        if name in told:
            told[name] += "," + value.decode("latin-1")
    if len(told[b"forwarded"]) > _MOST_CHARACTERS or len(told[b"x-forwarded-for"]) > _MOST_CHARACTERS:
        return []
    if all(told.values()):
        return []
    if told[b"forwarded"]:
        return [quoted or plain for quoted, plain in _FOR.findall(told[b"forwarded"])]
    return [part.strip() for part in told[b"x-forwarded-for"].split(",") if part.strip()]


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """An address, with or without a port; None for a name, `unknown` and `_hidden`."""
    if found := _PORT.fullmatch(text):
        text = found[1] or found[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
