"""A C-STORE SCU of which every byte can be chosen, for tests and for the benchmark. It reads answers, little else."""

import socket
from collections.abc import Iterable, Sequence
from typing import Self

from drimbox.dicom.command import C_ECHO_RQ, C_STORE_RQ, VERIFICATION, Command, build_command, read_command
from drimbox.dicom.pdu import (
    HEADER,
    PDV_HEADER,
    AssociateAccept,
    AssociateRequest,
    Pdu,
    ProposedContext,
    build_associate_request,
    build_data,
    build_release_request,
    read_associate_accept,
)
from drimbox.dicom.user_information import UserInformation

CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def build_request(
    contexts: Iterable[tuple[str, Sequence[str]]],
    calling: str = "SCANNER",
    called: str = "DRIMBOX",
    user: UserInformation | None = None,
) -> bytes:
    """An A-ASSOCIATE-RQ with contexts 1, 3, 5... for these abstract syntaxes and their transfer syntaxes."""
    proposed = (
        ProposedContext(2 * index + 1, abstract, tuple(syntaxes)) for index, (abstract, syntaxes) in enumerate(contexts)
    )
    user = user or UserInformation(16384, "1.2.3.4", "RAW_SCU")
    return build_associate_request(AssociateRequest(called, calling, tuple(proposed), user))


def build_store(
    context_id: int, sop_class_uid: str, sop_uid: str, data_set: bytes, message_id: int = 1, maximum_length: int = 16384
) -> bytes:
    """All the PDUs of one C-STORE."""
    command = build_command(Command(C_STORE_RQ, message_id, sop_class_uid, sop_uid, has_data_set=True, priority=0))
    pdus = [*build_data(context_id, command, True, maximum_length)]
    pdus += build_data(context_id, data_set, False, maximum_length)
    return b"".join(pdus)


class RawScu:
    """A connection. Every wait ends after `timeout_s`."""

    def __init__(self, place: tuple[str, int], timeout_s: float = 60) -> None:
        self.socket = socket.create_connection(place, timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[Pdu, bytes] | None:
        """The next PDU and its body; None when the other side closed."""
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        kind, length = HEADER.unpack(head)
        body = self._exactly(length)
        assert body is not None, "closed in the middle of a PDU"
        return Pdu(kind), body

    def _exactly(self, length: int) -> bytes | None:
        data = bytearray()
        while len(data) < length:
            try:
                piece = self.socket.recv(length - len(data))
            except ConnectionError:
                return None
            if not piece:
                return None
            data += piece
        return bytes(data)

    def associate(
        self,
        contexts: Iterable[tuple[str, Sequence[str]]] = ((CT, (EXPLICIT,)), (VERIFICATION, (IMPLICIT,))),
        **words: object,
    ) -> AssociateAccept:
        """Ask for an association, which must be accepted."""
        self.send(build_request(contexts, **words))  # type: ignore[arg-type]
        answer = self.receive()
        assert answer is not None and answer[0] is Pdu.ASSOCIATE_AC, answer
        return read_associate_accept(answer[1])

    def response(self) -> Command:
        """The next message, a command set in one or more P-DATA."""
        data, control = b"", 0
        while control != 3:
            answer = self.receive()
            assert answer is not None and answer[0] is Pdu.DATA, answer
            body = answer[1]
            while body:
                length, _, control = PDV_HEADER.unpack_from(body)
                data += body[PDV_HEADER.size : length + 4]
                body = body[length + 4 :]
        return read_command(data)

    def store(
        self, sop_uid: str, data_set: bytes, context_id: int = 1, sop_class_uid: str = CT, maximum_length: int = 16384
    ) -> Command:
        """C-STORE; its response."""
        self.send(build_store(context_id, sop_class_uid, sop_uid, data_set, maximum_length=maximum_length))
        return self.response()

    def echo(self, context_id: int = 3, message_id: int = 9) -> Command:
        """C-ECHO; its response."""
        command = build_command(Command(C_ECHO_RQ, message_id, VERIFICATION))
        self.send(b"".join(build_data(context_id, command, True, 0)))
        return self.response()

    def release(self) -> None:
        """Release, which must be answered."""
        self.send(build_release_request())
        answer = self.receive()
        assert answer is not None and answer[0] is Pdu.RELEASE_RP, answer
