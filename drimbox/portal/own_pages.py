"""Pages of somebody else, in a browser that can reach us, may not act through it (reliability-security.md 3).

A browser sends what any page asks it to. Two doors are closed here: to pages that write to us from another origin
(forged requests), and, while `auth.mode` is none and whoever sits at this machine is believed, to pages whose name was
made to mean this machine (DNS rebinding). Programs are not concerned: they send no Origin, and call us by address.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from drimbox.errors import Denied
from drimbox.problems import refuse

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_REBOUND: Final = "this node is not called so: call it by its address, or name it in http.public_url"
_FORGED: Final = "a page of another origin asked for it"

App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class OwnPages:
    """Refuses them with 403, before anything of the request is looked at.

    urls: how we are called, by configuration. origins: of pages elsewhere that may write too. by_name: is everybody who
    reaches us believed, so that it matters by which name?
    """

    def __init__(self, app: App, urls: Collection[str], origins: Collection[str], *, by_name: bool) -> None:
        self._app = app
        self._authorities = {urlsplit(url).netloc.lower() for url in urls if url}
        self._names = {urlsplit(url).hostname or "" for url in urls if url} | {"localhost"}
        self._origins = frozenset(origins)
        self._by_name = by_name

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (why := self._why_refused(scope)):
            status, headers, body = refuse(Denied("request", why), "portal")
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, send)

    def _why_refused(self, scope: dict[str, Any]) -> str:
        host = origin = ""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value.decode("latin-1").lower()
            elif name == b"origin":
                origin = value.decode("latin-1")
        if self._by_name and host and not self._is_ours(host):
            return _REBOUND
        if scope["method"] in _READS or not origin or origin in self._origins:
            return ""
        authority = urlsplit(origin).netloc.lower() if "://" in origin else ""
        return "" if authority and authority in (host, *self._authorities) else _FORGED

    def _is_ours(self, host: str) -> bool:
        """An address cannot be made to mean another one; a name can."""
        name, is_address = _read_host(host)
        return is_address or name in self._names


@lru_cache(maxsize=1024)  # asked for each frame, of the same few
def _read_host(host: str) -> tuple[str | None, bool]:
    """The name in a Host header, None when it cannot be read; is it an address?"""
    name = None
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ip_address(name)
    except ValueError:
        return name, False
    return name, True
