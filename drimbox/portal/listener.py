"""uvicorn with what it lacks: limits on a request's head, a least speed of bodies and readers, who is behind a proxy.

Pinned narrowly in pyproject.toml, because it leans on a few method names of uvicorn's protocol class.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from drimbox.errors import Unavailable
from drimbox.portal.proxies import Proxies

HEAD_TIMEOUT_S: Final = 30.0
HEAD_MAX_BYTES: Final = 64 * 1024

PACE_S: Final = 10.0
LEAST_BYTES_A_SECOND: Final = 1024
"""A body, and a reader who lets an answer wait, must do better in every PACE_S; a phone far from its mast does."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection whose every request head arrives whole within the deadline, or not at all.

    The deadline is absolute: a byte now and then does not push it back. Bodies and readers have a least speed instead:
    how long they may take depends on how much there is.
    """

    _deadline: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _body_pace: asyncio.TimerHandle | None = None
    _body_bytes = 0
    _reader_pace: asyncio.TimerHandle | None = None
    trusted: Proxies = Proxies(())

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._body_came()
        self._reader_goes_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and self.cycle is not None and self.cycle.response_complete:
            self._wait_for_head()
        if self._deadline is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._deadline is not None and self._head_bytes > HEAD_MAX_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._head_came()
        if self.trusted:
            self.scope["client"] = self.trusted.client(self.scope["client"], self.headers)
        super().on_headers_complete()
        self._body_bytes = 0
        self._body_pace = self.loop.call_later(PACE_S, self._check_body)

    # --- Bodies ---------------------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_came()
        super().on_message_complete()

    def _check_body(self) -> None:
        # While we do not read, because what came waits for the disk, nobody can be blamed.
        if self._body_bytes < PACE_S * LEAST_BYTES_A_SECOND and not self.flow.read_paused:
            self.transport.abort()
            return
        self._body_bytes = 0
        self._body_pace = self.loop.call_later(PACE_S, self._check_body)

    def _body_came(self) -> None:
        if self._body_pace is not None:
            self._body_pace.cancel()
        self._body_pace = None

    # --- Readers --------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reader(None)

    def resume_writing(self) -> None:
        self._reader_goes_on()
        super().resume_writing()

    def _check_reader(self, waited_bytes: int | None) -> None:
        """waited_bytes: how much waited for the reader PACE_S ago; nothing is added while it waits."""
        waiting = self.transport.get_write_buffer_size()
        if waited_bytes is not None and waited_bytes - waiting < PACE_S * LEAST_BYTES_A_SECOND:
            self.transport.abort()
            return
        self._reader_pace = self.loop.call_later(PACE_S, self._check_reader, waiting)

    def _reader_goes_on(self) -> None:
        if self._reader_pace is not None:
            self._reader_pace.cancel()
        self._reader_pace = None

    # --- Heads ----------------------------------------------------------------------------------------------------

    def _wait_for_head(self) -> None:
        self._head_came()
        self._deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline, self._head_bytes = None, 0


class Listener(uvicorn.Server):
    """An HTTP door on one socket of ours. The node, not uvicorn, listens to signals."""

    def __init__(self, app: Any, host: str, port: int, trusted_proxies: Sequence[str] = ()) -> None:
        config = uvicorn.Config(
            app,
            http=type("Protocol", (BoundedProtocol,), {"trusted": Proxies(trusted_proxies)}),
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=10,
            backlog=1024,
        )
        super().__init__(config)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # asyncio turns Nagle off on sockets that say they are TCP; those of socket.create_server do not.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(1024)
        except OSError as error:
            self._socket.close()
            reason = f"{host}:{port} cannot be listened on (errno {error.errno}): choose another"
            raise Unavailable("http.port", reason) from error
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """(host, port), the real one when 0 was asked for."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the node."""
        yield

    async def open(self) -> None:
        """Return once requests are answered."""
        self._task = asyncio.create_task(self.serve([self._socket]), name="http")
        while not self.started:
            if self._task.done():
                await self._task
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Finish the requests that were begun, within ten seconds."""
        self.should_exit = True
        if self._task is not None:
            await self._task
        self._socket.close()
