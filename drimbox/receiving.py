"""A worker of `serve --workers N`: it receives instances into the node's archive, and does nothing else.

The node starts it with a channel of its own (see `dicom_scp.processes`) and hands accepted sockets over to it. It has
its own connections to the index, and its own file of the trail.
"""

import asyncio
import ctypes
import signal
import socket
import sys
from typing import Final

import uvloop

from drimbox.audit.trail import Trail
from drimbox.dicom_scp.counts import Counts, Name
from drimbox.dicom_scp.processes import ENDED, READY
from drimbox.dicom_scp.receivers import Receiver
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


class _Told(Counts):
    """Counters that tell the node when a connection ended."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__()
        self._channel = channel

    def add(self, name: Name, step: int = 1) -> None:
        super().add(name, step)
        if name == "connections":
            try:
                self._channel.send(ENDED)
            except OSError:
                return  # the node is gone, and so shall we be


async def _receive(channel: socket.socket, settings: Settings, number: int) -> None:
    folder = settings.node.data_dir.resolve()
    trail = Trail(folder / "trail" / f"trail-{number}.jsonl")
    own = Archive(folder / "own")
    admit = Admit(settings, trail)
    ingest = Ingest(own, admit, settings.dicom.max_object_bytes)
    retrieve = Retrieve(own, admit, Pixels(Pool()))  # its workers are not started: the door gives stored bytes only
    share = -(-settings.dicom.max_associations // settings.node.workers)
    receiver = Receiver(
        f"dicom-receiver-{number}",
        settings.dicom.model_copy(update={"max_associations": share}),
        ingest,
        retrieve,
        _Told(channel),
    )
    receiver.start()
    ended = asyncio.Event()

    def take() -> None:
        address, files, _, _ = socket.recv_fds(channel, 64, 1)
        if not files:
            ended.set()
            return
        connection = socket.socket(fileno=files[0])
        connection.setblocking(False)
        receiver.take(connection, address.decode())

    loop = asyncio.get_running_loop()
    loop.add_reader(channel, take)
    channel.send(READY)
    await ended.wait()
    loop.remove_reader(channel)
    await receiver.stop(_GRACE_S)
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
