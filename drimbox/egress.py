"""The gate to the network: every outbound HTTP call of the node goes through `Egress`.

What it promises, whoever calls and whatever URL came out of a manifest (threat: SSRF):

- only origins (scheme, host, port) listed in the configuration are called, and only over TLS, loopback excepted;
- a name is resolved once, its addresses are checked, and the connection goes to the address that was checked: a name
  that changes its answer in between (DNS rebinding) gains nothing;
- no redirect is followed, no proxy or certificate store is taken from the environment, no cookie is kept;
- every call has one absolute deadline, and every answer a size cap or a reader that sets the pace;
- the text of an error names the host, never the path or the query: these hold UIDs and INS.

Trying again is the outbox's business: nothing is sent twice here.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import httpx2  # noqa: TID251  this file is the gate

from drimbox import clock
from drimbox.errors import Denied, Malformed, Unavailable
from drimbox.settings import is_loopback
from drimbox.tls import believe

_CONNECT_S = 10.0
_RESOLVER_THREADS = 4
_DEFAULT_PORTS = {"http": 80, "https": 443}
# PS3.15 B.13 and the ANSSI guide on TLS: forward secrecy and authenticated encryption; TLS 1.3 has nothing else.
_TLS12_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
# A centre's own network, when its origin was listed as private: RFC 1918, RFC 6598, RFC 4193.
_PRIVATE = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")),
)
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the IPv4 address really reached

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Identity:
    """The certificate we present, and the authorities we believe (the system's when `ca` is None). PEM files.

    When the file of authorities also holds revocation lists, the whole chain is checked against them, and a list that
    has expired refuses everybody: whoever installs lists must renew them. A renewed file is taken up by itself.
    """

    certificate: Path
    key: Path
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Header names are in lower case; repeated headers are joined by commas."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Streaming:
    """An answer whose body is read as it comes: `chunks` can be walked once, inside the `async with`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Origin:
    """RFC 6454: scheme, host (lower case, ASCII) and port."""

    scheme: str
    host: str
    port: int


def read_origin(url: str) -> Origin:
    """The origin of an absolute http or https URL without user information; the rest of the URL is ignored.

    Raises Malformed. Uses the parser of the HTTP client, so that what is checked is what is called.
    """
    return _origin(_parsed(url))


class Egress:
    """Makes the outbound calls. Owned by the main event loop; `close` it at the end.

    allowed: URLs whose origins may be called; their paths are not looked at (`peers.known` does). An origin given as
    an address (https://192.168.1.5) may be anything; a name must resolve to public addresses, `localhost` to loopback.
    private: URLs among them whose name may also resolve to the centre's private network (its own proxy, say).
    """

    def __init__(self, allowed: Iterable[str], private: Iterable[str] = ()) -> None:
        self._private = frozenset(map(read_origin, private))
        self._allowed = frozenset(map(read_origin, allowed)) | self._private
        for origin in self._allowed:
            if origin.scheme != "https" and not is_loopback(origin.host):
                raise Malformed("configuration", f"{origin.host}: https is required, except on loopback")
        self._contexts: dict[object, ssl.SSLContext] = {}
        self._transports: dict[object, httpx2.AsyncHTTPTransport] = {}
        # Apart from the loop's own threads: a name server that hangs must not hold up what the node reads from disk.
        self._resolver = ThreadPoolExecutor(_RESOLVER_THREADS, "resolver")

    async def post(
        self,
        url: str,
        *,
        content: bytes,
        headers: Mapping[str, str],
        identity: Identity | None = None,
        ca: Path | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        """POST `content` and return the whole answer, whatever its status below 300 or from 400.

        ca: authorities to believe when there is no identity. Raises Denied (origin or address not allowed), Malformed
        (the URL), Unavailable (everything else, an answer over `max_bytes` included: the outcome is unknown).
        """
        async with self._exchange("POST", url, content, headers, identity, ca, timeout_s, timeout_s) as answer:
            return await _read_whole(url, answer, max_bytes)

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        identity: Identity | None = None,
        ca: Path | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        """GET and return the whole answer. Errors as `post`."""
        async with self._exchange("GET", url, None, headers, identity, ca, timeout_s, timeout_s) as answer:
            return await _read_whole(url, answer, max_bytes)

    def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        identity: Identity | None = None,
        ca: Path | None = None,
        timeout_s: float,
        idle_s: float,
    ) -> AbstractAsyncContextManager[Streaming]:
        """GET and hand over the body as it comes. Errors as `post`, from the `async with` or from the chunks.

        timeout_s: from the call to the last chunk, the caller's own work included; it is the next chunk that raises,
        never that work. idle_s: the longest silence. One chunk (64 KiB) is held: a slow reader slows the sender.
        """
        return self._exchange("GET", url, None, headers, identity, ca, timeout_s, idle_s)

    async def close(self) -> None:
        """Close every connection. A call after this is a bug."""
        self._resolver.shutdown(wait=False, cancel_futures=True)
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            await transport.aclose()

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        identity: Identity | None,
        ca: Path | None,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncIterator[Streaming]:
        parsed = _parsed(url)
        origin = _origin(parsed)
        if origin not in self._allowed:
            raise Denied("outbound call", "this origin is not configured", detail=origin.host[:253])
        deadline = _Deadline(origin.host, timeout_s)
        async with deadline.held():
            addresses = await self._resolve(origin)
            transport = await self._transport(origin, identity, ca)
            sent = {**headers, "Host": parsed.netloc.decode("ascii"), "Accept-Encoding": "identity"}
            response = await _send(transport, method, parsed, addresses, sent, content, min(idle_s, timeout_s))
        try:
            _check(origin.host, response)
            async with aclosing(_chunks(origin.host, response, deadline)) as chunks:
                yield Streaming(response.status_code, dict(response.headers), chunks)
        finally:
            await response.aclose()

    async def _resolve(self, origin: Origin) -> list[Address]:
        """The addresses to try, each of them allowed. One bad address condemns the name."""
        try:
            return [ip_address(origin.host)]  # a literal in the configuration is explicit
        except ValueError:
            pass
        look_up = partial(socket.getaddrinfo, origin.host, origin.port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._resolver, look_up)
        except (OSError, UnicodeError) as error:
            raise Unavailable(origin.host, "the name does not resolve") from error
        addresses = list(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
        for address in addresses:
            if not self._may_be(origin, address):
                raise Denied("outbound call", f"{origin.host} resolves to an address that is not public")
        return addresses

    def _may_be(self, origin: Origin, address: Address) -> bool:
        reached = _reached(address)
        if origin.host == "localhost":
            return reached.is_loopback
        if any(reached in network for network in _PRIVATE):
            return origin in self._private
        return reached.is_global and not reached.is_multicast

    async def _transport(self, origin: Origin, identity: Identity | None, ca: Path | None) -> httpx2.AsyncHTTPTransport:
        """The pool of connections to one origin under one identity.

        Connections go to bare addresses: two names at one address must not share a pool, or one would be reached
        under the other's certificate. The dates of the files are part of the key: a renewed certificate is taken up
        without a restart.
        """
        files = (identity.certificate, identity.key, identity.ca) if identity else (ca,)
        try:
            trust = (identity, ca, tuple(file.stat().st_mtime_ns if file else 0 for file in files))
            if origin.scheme == "https" and trust not in self._contexts:
                self._contexts[trust] = await asyncio.to_thread(_build_context, identity, ca)
        except (OSError, ssl.SSLError) as error:
            raise Unavailable(origin.host, "our certificate, key or authorities cannot be read") from error
        key = (origin, trust)
        if key not in self._transports:
            context = self._contexts.get(trust) or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._transports[key] = httpx2.AsyncHTTPTransport(verify=context, trust_env=False)
        return self._transports[key]


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise Malformed("URL", "it cannot be parsed") from error
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
        raise Malformed("URL", "an absolute http or https URL is required")
    if not 0 < _port(parsed) < 65536:
        raise Malformed("URL", "no such port")
    if parsed.userinfo:
        raise Malformed("URL", "user information is not allowed")
    return parsed


def _port(parsed: httpx2.URL) -> int:
    return _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port


def _origin(parsed: httpx2.URL) -> Origin:
    return Origin(parsed.scheme, parsed.raw_host.decode("ascii"), _port(parsed))


def _reached(address: Address) -> Address:
    """The address really reached: IPv6 has several ways to wrap an IPv4 address."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _build_context(identity: Identity | None, ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_SUITES)
    authorities = identity.ca if identity else ca
    if authorities:
        believe(context, authorities)
    else:
        context.load_default_certs()
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


async def _send(
    transport: httpx2.AsyncHTTPTransport,
    method: str,
    parsed: httpx2.URL,
    addresses: list[Address],
    headers: Mapping[str, str],
    content: bytes | None,
    idle_s: float,
) -> httpx2.Response:
    """Send to the first address that accepts a connection; nothing was sent to the ones that do not."""
    name = parsed.raw_host.decode("ascii")
    extensions = {
        "timeout": {"connect": min(idle_s, _CONNECT_S), "read": idle_s, "write": idle_s, "pool": idle_s},
        "sni_hostname": name,
    }
    with _outside(name):
        for left, address in enumerate(addresses, 1 - len(addresses)):
            url = parsed.copy_with(host=str(address))
            request = httpx2.Request(method, url, headers=headers, content=content, extensions=extensions)
            try:
                return await transport.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if left == 0:
                    raise
    raise Unavailable(name, "the name has no address")


def _check(host: str, response: httpx2.Response) -> None:
    if 300 <= response.status_code < 400:
        raise Unavailable(host, f"it answers with a redirect ({response.status_code}), which is not followed")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unavailable(host, "it answers with a compression that was not asked for")


async def _chunks(host: str, response: httpx2.Response, deadline: "_Deadline") -> AsyncGenerator[bytes, None]:
    async with aclosing(response.aiter_raw()) as raw:
        while True:
            with _outside(host):
                async with deadline.held():
                    chunk = await anext(raw, None)
            if chunk is None:
                return
            yield chunk


async def _read_whole(url: str, answer: Streaming, max_bytes: int) -> Answer:
    content = bytearray()
    async for chunk in answer.chunks:
        content += chunk
        if len(content) > max_bytes:
            raise Unavailable(read_origin(url).host, f"its answer is over {max_bytes} bytes")
    return Answer(answer.status, answer.headers, bytes(content))


@dataclass(frozen=True, slots=True)
class _Deadline:
    """One absolute deadline for several waits. It is armed only while we wait for the other end."""

    host: str
    timeout_s: float
    started: float = field(default_factory=lambda: clock.ticks())

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        left = self.started + self.timeout_s - clock.ticks()
        try:
            async with asyncio.timeout(left):
                yield
        except TimeoutError as error:
            raise Unavailable(self.host, f"no complete answer within {self.timeout_s:g} s") from error


@contextmanager
def _outside(host: str) -> Iterator[None]:
    """Turn what the client or the system raises into Unavailable, with no URL in the text."""
    try:
        yield
    except (httpx2.LocalProtocolError, UnicodeEncodeError) as error:
        raise Malformed("request", "a header or the body cannot be sent as HTTP") from error
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(host, _why(error), detail=type(error).__name__) from error


def _why(error: Exception) -> str:
    match error:
        case httpx2.ConnectTimeout() | httpx2.ConnectError():
            return "no connection, or its certificate is not trusted"
        case httpx2.TimeoutException():
            return "it stays silent"
    return "the connection broke"
