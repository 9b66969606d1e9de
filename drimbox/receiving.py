"""A worker of `serve --workers N`: it receives instances into the node's archive, and does nothing else.

The node starts it with a channel of its own (see `dicom_scp.processes`) and hands accepted sockets over to it. It has
its own connections to the index, and its own file of the trail.
"""

import asyncio
import ctypes
import itertools
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import Final

import uvloop

from drimbox.audit.trail import Trail
from drimbox.dicom_scp.counts import Counts
from drimbox.dicom_scp.limits import Limits
from drimbox.dicom_scp.processes import ENDED, LEFT, MAY_ENTER, NO, PACKET_BYTES, READY, UNDER_TLS, YES
from drimbox.dicom_scp.receivers import Receiver, build_handshakes
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.log import set_up_log
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
from drimbox.settings import Settings
from drimbox.storage.archive import Archive

_GRACE_S: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


class _Node:
    """The node, at the other end of the channel. Its answers come on the loop of this process; anyone may ask."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._asked: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[bool]]] = {}
        self._is_gone = False

    def say(self, packet: bytes) -> None:
        """Send it. When the node is gone, so shall we be."""
        with suppress(OSError):
            self._channel.send(packet)

    def ended(self, address: str) -> None:
        """A connection is over."""
        self.say(ENDED + address.encode())

    async def enter(self, caller: str) -> bool:
        """See limits.Associations."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        with self._lock:
            if self._is_gone:
                return False
            number = next(self._numbers)
            self._asked[number] = (loop, answer)
        self.say(MAY_ENTER + f"{number} {caller}".encode())
        return await answer

    def leave(self, caller: str) -> None:
        """See limits.Associations."""
        self.say(LEFT + caller.encode())

    def answered(self, number: int, is_welcome: bool) -> None:
        """What the node said to the question with this number."""
        with self._lock:
            loop, answer = self._asked.pop(number)
        loop.call_soon_threadsafe(answer.set_result, is_welcome)

    def gone(self) -> None:
        """Nobody will answer any more."""
        with self._lock:
            self._is_gone = True
            asked = list(self._asked)
        for number in asked:
            self.answered(number, False)


async def _receive(channel: socket.socket, settings: Settings, number: int) -> None:
    folder = settings.node.data_dir.resolve()
    trail = Trail(folder / "trail" / f"trail-{number}.jsonl")
    own = Archive(folder / "own", is_shared=True)
    admit = Admit(settings, trail)
    ingest = Ingest(own, admit, settings.dicom.max_object_bytes)
    pixels = Pixels(Pool(1))  # a worker, for what C-GET or C-MOVE gives in another syntax: it starts when it is needed
    await pixels.start()
    retrieve = Retrieve(own, admit, pixels)
    node = _Node(channel)
    handshakes = build_handshakes(settings.dicom, ingest, node.ended)
    limits, name = Limits(node), f"dicom-receiver-{number}"
    receiver = Receiver(name, settings.dicom, ingest, retrieve, Counts(), limits, node.ended, handshakes)
    if handshakes is not None:
        handshakes.start()
    receiver.start()
    ended = asyncio.Event()

    def hear() -> None:
        packet, files, _, _ = socket.recv_fds(channel, PACKET_BYTES, 1)
        kind, told = packet[:1], packet[1:].decode()
        if files:
            connection = socket.socket(fileno=files[0])
            connection.setblocking(False)
            receiver.take(connection, told, kind == UNDER_TLS)
        elif kind in (YES, NO):
            node.answered(int(told), kind == YES)
        else:
            node.gone()
            ended.set()

    loop = asyncio.get_running_loop()
    loop.add_reader(channel, hear)
    channel.send(READY)
    await ended.wait()
    loop.remove_reader(channel)
    if handshakes is not None:
        await handshakes.stop()
    await receiver.stop(_GRACE_S)
    await pixels.stop()
    own.close()
    trail.close()


def main() -> None:
    """`python -m drimbox.receiving CHANNEL NUMBER`, settings as JSON on the standard input."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for ignored in (signal.SIGINT, signal.SIGTERM):  # of a terminal's whole group: the node says when to end
        signal.signal(ignored, signal.SIG_IGN)
    set_up_log()
    channel = socket.socket(fileno=int(sys.argv[1]))
    uvloop.run(_receive(channel, Settings.model_validate_json(sys.stdin.read()), int(sys.argv[2])))


if __name__ == "__main__":
    main()
