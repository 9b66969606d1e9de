"""A C-STORE sender that costs nearly nothing: PDUs are encoded once into a file, then sent with sendfile."""

import itertools
import multiprocessing
import os
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

from corpus import CT, EXPLICIT, DataSet

from drimbox.dicom.command import C_STORE_RQ, Command, build_command, read_command
from drimbox.dicom.pdu import (
    HEADER,
    AssociateRequest,
    Pdu,
    ProposedContext,
    build_associate_request,
    build_data,
    build_release_request,
)
from drimbox.dicom.user_information import UserInformation

PDU_BYTES = 131072
WAIT_S = 300.0

Place = tuple[str, int]
Part = tuple[int, int]  # offset and length


@dataclass(frozen=True)
class Stream:
    """One C-STORE after another in `file`: the offset and the length of each."""

    file: Path
    parts: tuple[Part, ...]

    def among(self, associations: int) -> list[Sequence[Part]]:
        """As equal shares, each a run of neighbours, as scanners send series."""
        edges = [len(self.parts) * number // associations for number in range(associations + 1)]
        return [self.parts[low:high] for low, high in itertools.pairwise(edges)]


@dataclass(frozen=True)
class Acknowledged:
    """One C-STORE: its last byte was given to the system at `sent_s`, its response was read at `answered_s`."""

    sent_s: float
    answered_s: float


@dataclass(frozen=True)
class Replayed:
    """What happened, by association. Times are of one clock, CLOCK_MONOTONIC."""

    start_s: float
    associations: tuple[tuple[Acknowledged, ...], ...]

    @property
    def seconds(self) -> float:
        return max(each.answered_s for own in self.associations for each in own) - self.start_s

    @property
    def waits_ms(self) -> list[float]:
        """How long each response was waited for, sorted."""
        return sorted((each.answered_s - each.sent_s) * 1000 for own in self.associations for each in own)

    def rate(self, start_s: float, end_s: float) -> float:
        """Instances a second, all associations together, acknowledged in that time."""
        times = (each.answered_s for own in self.associations for each in own)
        return sum(start_s < time <= end_s for time in times) / (end_s - start_s)


def build_stream(file: Path, data_sets: Iterable[DataSet]) -> Stream:
    """Encode one C-STORE each."""
    parts = []
    with file.open("wb") as out:
        for number, each in enumerate(data_sets):
            command = Command(C_STORE_RQ, number % 65535 + 1, each.sop_class_uid, each.sop_uid, True, priority=0)
            start = out.tell()
            out.writelines(build_data(1, build_command(command), True, PDU_BYTES))
            out.writelines(build_data(1, each.content, False, PDU_BYTES))
            parts.append((start, out.tell() - start))
    return Stream(file, tuple(parts))


def replay(
    stream: Stream, place: Place, associations: int = 1, *, one_each: bool = False, joins_after: int = 0
) -> Replayed:
    """Send all, a process an association.

    one_each: an association for each instance, opened and released, by each process. joins_after: the first
    association is alone until so many of its instances were acknowledged.
    """
    context = multiprocessing.get_context("fork")
    opened, ends = context.SimpleQueue(), context.SimpleQueue()
    go, joined = context.Event(), context.Event()
    processes = []
    for number, parts in enumerate(stream.among(associations)):
        start = joined if joins_after and number else go
        tells = joins_after if number == 0 else 0
        work = (stream.file, parts, place, one_each, opened, start, (tells, joined), ends)
        processes.append(context.Process(target=_send, args=work))
        processes[-1].start()
    for _ in processes:
        opened.get()
    start_s = time.perf_counter()
    go.set()
    found = dict(ends.get() for _ in processes)
    for process in processes:
        process.join(WAIT_S)
    if failures := [end for end in found.values() if isinstance(end, str)]:
        raise RuntimeError(failures[0])
    return Replayed(start_s, tuple(found[process.pid] for process in processes))


def _send(file, parts, place, one_each, opened, start: Event, tell, ends) -> None:  # type: ignore[no-untyped-def]
    """The process of one association. It always says that it is open, and how it ended."""
    after, joined = tell
    done: list[Acknowledged] = []
    told = False
    try:
        with file.open("rb") as source:
            peer = None if one_each else _open(place)
            opened.put(True)
            told = True
            if not start.wait(WAIT_S):
                raise TimeoutError("the others did not start")
            for part in parts:
                own = peer or _open(place)
                done.append(_store(own, source.fileno(), part))
                if peer is None:
                    _release(own)
                if len(done) == after:
                    joined.set()
            if peer is not None:
                _release(peer)
        ends.put((os.getpid(), tuple(done)))
    except Exception as error:
        joined.set()
        if not told:
            opened.put(False)
        ends.put((os.getpid(), f"{type(error).__name__}: {error}"))


def _open(place: Place) -> socket.socket:
    user = UserInformation(PDU_BYTES, "1.2.3.4")
    peer = socket.create_connection(place, WAIT_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(
        build_associate_request(AssociateRequest("BENCH", "REPLAY", (ProposedContext(1, CT, (EXPLICIT,)),), user))
    )
    expect(peer, Pdu.ASSOCIATE_AC)
    return peer


def _store(peer: socket.socket, source: int, part: Part) -> Acknowledged:
    offset, length = part
    end = offset + length
    peer.setblocking(True)  # sendfile knows no time limit of Python's
    while offset < end:
        offset += os.sendfile(peer.fileno(), source, offset, end - offset)
    peer.settimeout(WAIT_S)
    sent_s = time.perf_counter()
    status = read_command(expect(peer, Pdu.DATA)[6:]).status
    if status != 0:
        raise RuntimeError(f"status {status}")
    return Acknowledged(sent_s, time.perf_counter())


def _release(peer: socket.socket) -> None:
    with peer:
        peer.sendall(build_release_request())
        expect(peer, Pdu.RELEASE_RP)


def expect(peer: socket.socket, kind: Pdu) -> bytes:
    """The body of the next PDU, which must be of that kind."""
    found, length = HEADER.unpack(_exactly(peer, HEADER.size))
    body = _exactly(peer, length)
    if found != kind:
        raise RuntimeError(f"PDU {found} instead of {kind.name}")
    return body


def _exactly(peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = peer.recv(length - len(data))
        if not piece:
            raise EOFError("the other side closed")
        data += piece
    return data
