"""Receiving in other processes: the door accepts, and hands sockets over to workers that have an interpreter each.

One interpreter keeps little more than one processor busy, whatever its threads do. A worker is started by the node,
holds no port, and ends with it: when the channel between them closes, and at once when the node is killed.
"""

import asyncio
import logging
import socket
import sys
from typing import Final

from drimbox.dicom_scp.counts import Counts
from drimbox.errors import Unavailable

log = logging.getLogger(__name__)

READY: Final = b"ready"
ENDED: Final = b"."
_START_S: Final = 60.0
_PACKET_BYTES: Final = 64


class ReceivingProcess:
    """A worker as the door sees it: something that takes connections, like a `Receiver`.

    settings: of the whole node, JSON. Taken connections are counted here and come back one by one as they end.
    """

    def __init__(self, number: int, settings: str, counts: Counts) -> None:
        self._number = number
        self._settings = settings
        self._counts = counts
        self._open = 0
        self._channel: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return once it takes connections. Raises Unavailable."""
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "drimbox.receiving", str(theirs.fileno()), str(self._number),
                stdin=asyncio.subprocess.PIPE, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        channel.setblocking(False)
        try:
            async with asyncio.timeout(_START_S):
                if self._process.stdin is not None:
                    self._process.stdin.write(self._settings.encode())
                    await self._process.stdin.drain()
                    self._process.stdin.close()
                said = await asyncio.get_running_loop().sock_recv(channel, _PACKET_BYTES)
        except TimeoutError:
            said = b""
        if said != READY:
            channel.close()
            raise Unavailable("worker", f"number {self._number} did not become ready: see the log")
        self._channel = channel
        asyncio.get_running_loop().add_reader(channel, self._hear, channel)

    @property
    def is_gone(self) -> bool:
        """Did it die, or was it not started?"""
        return self._channel is None

    def take(self, connection: socket.socket, address: str) -> None:
        """Hand an accepted connection over. It is closed when the worker is gone: the other end will come again."""
        try:
            if self._channel is not None:
                socket.send_fds(self._channel, [address.encode()], [connection.fileno()])
                self._open += 1
                return
        except OSError as error:
            log.error("worker_unreachable", extra={"worker": self._number, "errno": error.errno})
        finally:
            connection.close()
        self._counts.add("connections", -1)

    def _hear(self, channel: socket.socket) -> None:
        """A connection it had has ended; or the worker has, and all of them."""
        try:
            said = channel.recv(_PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        ended = 1 if said else self._open
        self._open -= ended
        self._counts.add("connections", -ended)
        if not said:
            log.error("worker_died", extra={"worker": self._number, "connections": ended})
            self._close()

    async def stop(self, grace_s: float) -> None:
        """Let it finish the messages that are arriving, within the grace; then end it."""
        self._close()
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), grace_s + _START_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            asyncio.get_running_loop().remove_reader(channel)
            channel.close()
