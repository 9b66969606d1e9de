"""DICOMweb for the viewers of other origins that the operator names: CORS (Fetch standard §3.2)."""

from collections.abc import Collection
from typing import Any, Final, Protocol

from drimbox.dicomweb.answers import Receive, Send
from drimbox.dicomweb.request import Scope
from drimbox.problems import Headers

_METHODS: Final = b"GET, HEAD, POST, DELETE, OPTIONS"
_MAY_BE_SENT: Final = (
    b"accept, authorization, content-type, if-none-match, if-range, kos-sopinstanceuid, range, situation"
)
_MAY_BE_READ: Final = b"accept-ranges, content-length, content-range, etag, link, retry-after, warning"
_KEPT_S: Final = b"600"


class App(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class CrossOrigin:
    """Lets pages of `origins` read the answers of an application; all others only those of their own origin.

    Cookies are never accepted across: such a viewer sends its token in Authorization.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Have `app` answer, or answer the question a browser puts before (a preflight)."""
        if not self._origins:
            await app(scope, receive, send)
            return
        given = dict(scope["headers"])
        origin = given.get(b"origin", b"")
        headers: Headers = [(b"vary", b"origin")]
        if origin in self._origins:
            headers += [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _MAY_BE_READ)]
            if scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
                headers += [
                    (b"access-control-allow-methods", _METHODS),
                    (b"access-control-allow-headers", _MAY_BE_SENT),
                    (b"access-control-max-age", _KEPT_S),
                ]
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return

        async def shared(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        await app(scope, receive, shared)
