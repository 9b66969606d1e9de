"""The floor: the least a durable receiver can do in Python. `python tests/bench/floor.py PORT FOLDER`.

Blocking sockets, a thread an association. It negotiates, appends the bytes of each data set to one file an association
and syncs them before it answers. It checks nothing, reads nothing of what it stores, and has no index and no trail.
"""

import os
import socket
import struct
import sys
import threading
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from drimbox.dicom.command import C_STORE_RQ, RESPONSE, Command, build_command, read_command
from drimbox.dicom.pdu import (
    COMMAND,
    HEADER,
    LAST,
    AnsweredContext,
    AssociateAccept,
    Pdu,
    build_associate_accept,
    build_data,
    build_release_response,
    read_associate_request,
)
from drimbox.dicom.user_information import UserInformation

PDU_BYTES = 131072
BUFFER_BYTES = 2**20
_START = struct.Struct(">BxIIBB")  # the headers of a P-DATA-TF and of its first fragment
_QUICKACK = 12  # TCP_QUICKACK: senders that leave Nagle on would wait for a delayed acknowledgement of ours


class Link:
    """What has arrived: `buffer[start:end]`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.start = self.end = 0

    def need(self, length: int) -> bool:
        """Wait until `length` bytes are there; False when the other side closed."""
        if self.start + length > BUFFER_BYTES or self.start == self.end:
            rest = bytes(self.buffer[self.start : self.end])
            self.buffer[: len(rest)] = rest
            self.start, self.end = 0, len(rest)
        while self.end - self.start < length:
            if not self.more():
                return False
        return True

    def more(self) -> bool:
        arrived = self._connection.recv_into(self.buffer[self.end :])
        self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        self.end += arrived
        return arrived > 0


def serve(connection: socket.socket, file: int) -> None:
    """One association, to its end."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link = Link(connection)
    command = b""
    while link.need(HEADER.size):
        kind, length = HEADER.unpack_from(link.buffer, link.start)
        if kind == Pdu.DATA:
            link.need(_START.size)
            _, _, fragment, context_id, control = _START.unpack_from(link.buffer, link.start)
            if fragment + 4 != length:
                raise ValueError("one fragment a PDU, as the senders of the benchmark do")
            link.start += _START.size
            if control & COMMAND:
                link.need(fragment - 2)
                command += link.buffer[link.start : link.start + fragment - 2]
                link.start += fragment - 2
            else:
                append(link, file, fragment - 2)
                if control & LAST:
                    os.fdatasync(file)
                    asked = read_command(command)
                    answer = Command(
                        C_STORE_RQ | RESPONSE, asked.message_id, asked.sop_class_uid, asked.sop_uid, status=0
                    )
                    connection.sendall(b"".join(build_data(context_id, build_command(answer), True, PDU_BYTES)))
                    command = b""
            continue
        link.need(HEADER.size + length)
        body = bytes(link.buffer[link.start + HEADER.size : link.start + HEADER.size + length])
        link.start += HEADER.size + length
        if kind == Pdu.ASSOCIATE_RQ:
            connection.sendall(accept(body))
        elif kind == Pdu.RELEASE_RQ:
            connection.sendall(build_release_response())


def append(link: Link, file: int, length: int) -> None:
    """Write the next `length` bytes of the stream as they arrive."""
    while length:
        if link.start == link.end:
            link.start = link.end = 0
            if not link.more():
                raise EOFError("closed within a data set")
        written = os.write(file, link.buffer[link.start : min(link.end, link.start + length)])
        link.start += written
        length -= written


def accept(body: bytes) -> bytes:
    request = read_associate_request(body)
    contexts = tuple(AnsweredContext(context.id, 0, context.transfer_syntaxes[0]) for context in request.contexts)
    user = UserInformation(PDU_BYTES, "1.2.3.4")
    return build_associate_accept(AssociateAccept(request.called, request.calling, contexts, user))


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    numbers = count()

    def run(connection: socket.socket) -> None:
        file = os.open(folder / str(next(numbers)), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            with connection:
                serve(connection, file)
        finally:
            os.close(file)

    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        while True:
            threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
