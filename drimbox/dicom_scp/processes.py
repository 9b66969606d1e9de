"""Receiving in other processes: the door accepts, and hands sockets over to workers that have an interpreter each.

One interpreter keeps little more than one processor busy, whatever its threads do. A worker is started by the node,
holds no port, and ends with it: when the channel between them closes, and at once when the node is killed.
"""

import asyncio
import logging
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from drimbox.dicom_scp.limits import Places
from drimbox.errors import Unavailable

log = logging.getLogger(__name__)

# From the worker. Each is one packet.
READY: Final = b"ready"
ENDED: Final = b"."  # then the address of the connection
MAY_ENTER: Final = b"?"  # then a number, a space, the caller: may it have an association?
LEFT: Final = b"-"  # then the caller whose association is over
# To the worker.
PLAIN: Final = b"p"  # with a socket; then its address
UNDER_TLS: Final = b"t"
YES: Final = b"y"  # then the number that was asked with
NO: Final = b"n"
PACKET_BYTES: Final = 256
_START_S: Final = 60.0


class ReceivingProcess:
    """A worker as the door sees it: something that takes connections, like a `Receiver`.

    settings: of the whole node, JSON. ended: told of the address of each connection that is over. associations: the
    places of the node, for which the workers ask here: a limit is one limit, however many processes there are.
    """

    def __init__(self, number: int, settings: str, ended: Callable[[str], None], associations: Places) -> None:
        self._number = number
        self._settings = settings
        self._end = ended
        self._associations = associations
        self._open: Counter[str] = Counter()  # connections it has, by address
        self._held: Counter[str] = Counter()  # associations it has, by caller
        self._answers: deque[bytes] = deque()  # that the channel did not take yet
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
                said = await asyncio.get_running_loop().sock_recv(channel, PACKET_BYTES)
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

    def take(self, connection: socket.socket, address: str, under_tls: bool) -> None:
        """Hand an accepted connection over. It is closed when the worker is gone: the other end will come again."""
        kind = UNDER_TLS if under_tls else PLAIN
        try:
            if self._channel is not None:
                socket.send_fds(self._channel, [kind + address.encode()], [connection.fileno()])
                self._open[address] += 1
                return
        except OSError as error:
            log.error("worker_unreachable", extra={"worker": self._number, "errno": error.errno})
        finally:
            connection.close()
        self._end(address)

    def _hear(self, channel: socket.socket) -> None:
        try:
            said = channel.recv(PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        kind, told = said[:1], said[1:].decode()
        if kind == ENDED:
            self._open[told] -= 1
            self._end(told)
        elif kind == MAY_ENTER:
            number, _, caller = told.partition(" ")
            is_welcome = self._associations.enter(caller)
            self._held[caller] += is_welcome
            self._answers.append((YES if is_welcome else NO) + number.encode())
            self._answer(channel)
        elif kind == LEFT:
            self._held[told] -= 1
            self._associations.leave(told)
        else:
            self._bury()

    def _answer(self, channel: socket.socket) -> None:
        """Send what is to be sent; the rest once there is room."""
        loop = asyncio.get_running_loop()
        loop.remove_writer(channel)
        try:
            while self._answers:
                channel.send(self._answers[0])
                self._answers.popleft()
        except BlockingIOError:
            loop.add_writer(channel, self._answer, channel)
        except OSError:
            self._bury()

    def _bury(self) -> None:
        """It died, and with it all that it had."""
        log.error("worker_died", extra={"worker": self._number, "connections": self._open.total()})
        self._close()
        for address in self._open.elements():
            self._end(address)
        for caller in self._held.elements():
            self._associations.leave(caller)
        self._open.clear()
        self._held.clear()

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
            asyncio.get_running_loop().remove_writer(channel)
            channel.close()
