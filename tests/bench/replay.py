"""A C-STORE sender that costs nearly nothing: PDUs are encoded once into a file, then sent with sendfile."""

import multiprocessing
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from drimbox.dicom.command import C_STORE_RQ, Command, build_command, read_command
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.dicom.pdu import (
    HEADER,
    AssociateRequest,
    Pdu,
    ProposedContext,
    UserInformation,
    build_associate_request,
    build_data,
    build_release_request,
)

PDU_BYTES = 131072
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
WAIT_S = 120.0


@dataclass(frozen=True)
class Stream:
    """One C-STORE after another in `file`; `parts` are their offsets and lengths, by association."""

    file: Path
    parts: tuple[tuple[tuple[int, int], ...], ...]


def build_stream(file: Path, associations: Sequence[Sequence[Path]]) -> Stream:
    """Encode the instances of each association."""
    parts = []
    with file.open("wb") as out:
        for paths in associations:
            own = []
            for number, path in enumerate(paths):
                content = path.read_bytes()
                preface = read_preface(InMemory(content))
                message_id = number % 65535 + 1
                command = Command(C_STORE_RQ, message_id, preface.sop_class_uid, preface.sop_uid, True, priority=0)
                start = out.tell()
                out.writelines(build_data(1, build_command(command), True, PDU_BYTES))
                out.writelines(build_data(1, memoryview(content)[preface.data_set_offset :], False, PDU_BYTES))
                own.append((start, out.tell() - start))
            parts.append(tuple(own))
    return Stream(file, tuple(parts))


def replay(stream: Stream, place: tuple[str, int]) -> float:
    """Send all, one process an association; seconds from the first C-STORE to the last response."""
    barrier = multiprocessing.Barrier(len(stream.parts) + 1)
    ends: multiprocessing.Queue[float | str] = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=_send, args=(stream.file, own, place, barrier, ends)) for own in stream.parts
    ]
    for process in processes:
        process.start()
    barrier.wait(WAIT_S)
    start = time.perf_counter()
    found = [ends.get(timeout=WAIT_S) for _ in processes]
    for process in processes:
        process.join()
    if failures := [end for end in found if isinstance(end, str)]:
        raise RuntimeError(failures[0])
    return max(end for end in found if isinstance(end, float)) - start


def _send(
    file: Path,
    parts: Sequence[tuple[int, int]],
    place: tuple[str, int],
    barrier: Barrier,
    ends: "multiprocessing.Queue[float | str]",
) -> None:
    try:
        user = UserInformation(PDU_BYTES, "1.2.3.4")
        request = AssociateRequest("BENCH", "REPLAY", (ProposedContext(1, CT, (EXPLICIT,)),), user)
        with socket.create_connection(place, WAIT_S) as peer, file.open("rb") as source:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(build_associate_request(request))
            _expect(peer, Pdu.ASSOCIATE_AC)
            barrier.wait(WAIT_S)
            for offset, length in parts:
                _send_file(peer, source.fileno(), offset, length)
                status = read_command(_expect(peer, Pdu.DATA)[6:]).status
                if status != 0:
                    raise RuntimeError(f"status {status}")
            ends.put(time.perf_counter())  # CLOCK_MONOTONIC: one clock for all processes
            peer.sendall(build_release_request())
            _expect(peer, Pdu.RELEASE_RP)
    except Exception as error:
        barrier.abort()
        ends.put(f"{type(error).__name__}: {error}")


def _send_file(peer: socket.socket, source: int, offset: int, length: int) -> None:
    peer.setblocking(True)
    end = offset + length
    while offset < end:
        offset += os.sendfile(peer.fileno(), source, offset, end - offset)
    peer.settimeout(WAIT_S)


def _expect(peer: socket.socket, kind: Pdu) -> bytes:
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
