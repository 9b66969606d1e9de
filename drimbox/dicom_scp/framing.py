"""Cut a stream of bytes into PDUs and fragments as it comes, whatever way it was cut by the network (PS3.8 §9.3).

Nothing is allocated from a length that was read, and the bytes of a data set are never copied here.
"""

from enum import Enum
from typing import Final, Protocol

from drimbox.dicom.pdu import HEADER, PDV_HEADER, AbortReason, AbortSource, Pdu

_KINDS: Final = {kind.value: kind for kind in Pdu}
_LONGEST_REQUEST: Final = 2**20  # 128 contexts of many syntaxes, and a user identity of 64 kB
_LONGEST_OTHER: Final = 64  # 4 by the standard
_SLACK: Final = 1024  # some senders take the maximum for the length of one fragment


class Breach(Exception):
    """The other side broke the protocol: the association is aborted with this source and reason."""

    def __init__(self, why: str, source: AbortSource, reason: AbortReason) -> None:
        super().__init__(why)
        self.why = why
        self.source = source
        self.reason = reason


def wrong_pdu(why: str, reason: AbortReason = AbortReason.INVALID_PARAMETER) -> Breach:
    """A breach of the Upper Layer (PS3.8)."""
    return Breach(why, AbortSource.SERVICE_PROVIDER, reason)


def wrong_message(why: str) -> Breach:
    """A breach of the message exchange (PS3.7): the abort comes from the user of the Upper Layer."""
    return Breach(why, AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)


class State(Enum):
    """The states of PS3.8 §9.2 in which an acceptor reads, with the PDUs expected in each."""

    AWAITING_REQUEST = frozenset({Pdu.ASSOCIATE_RQ, Pdu.ABORT})  # Sta2
    DECIDING = frozenset({Pdu.ABORT})  # Sta3
    ASSOCIATED = frozenset({Pdu.DATA, Pdu.RELEASE_RQ, Pdu.ABORT})  # Sta6
    CLOSING = frozenset[Pdu]()  # Sta13: the last word was said, whatever still comes is thrown away


class Sink(Protocol):
    """Who is told. Each method says whether to go on; on False, `feed` returns and leaves the rest unread."""

    def pdu(self, kind: Pdu, body: bytes) -> bool:
        """A whole PDU other than P-DATA-TF."""

    def fragment(self, context_id: int, control: int, piece: memoryview, is_whole: bool) -> bool:
        """The next piece of a fragment; is_whole: the fragment ends with it. `piece` is only lent."""


class Framing:
    """The place reached in the stream of one association."""

    __slots__ = ("_body", "_context_id", "_control", "_fragment_left", "_head", "_kind", "_left", "_longest", "state")

    def __init__(self, maximum_length: int) -> None:
        self.state = State.AWAITING_REQUEST
        self._longest = maximum_length + _SLACK
        self._head = b""  # a header that is not whole yet
        self._body = bytearray()  # of a PDU other than P-DATA-TF
        self._kind: Pdu | None = None
        self._left = 0  # bytes of the PDU still to come
        self._fragment_left = 0  # bytes of the fragment still to come
        self._context_id = self._control = 0

    def feed(self, view: memoryview, sink: Sink) -> int:
        """Read `view` until its end or until the sink has enough; how many bytes were read. Raises Breach."""
        start, end = 0, len(view)
        going_on = True
        while going_on and start < end:
            if self._fragment_left:
                length = min(self._fragment_left, end - start)
                self._fragment_left -= length
                piece = view[start : start + length]
                start += length
                going_on = sink.fragment(self._context_id, self._control, piece, not self._fragment_left)
            elif self._kind is not None and self._kind is not Pdu.DATA:
                length = min(self._left, end - start)
                self._left -= length
                self._body += view[start : start + length]
                start += length
                if not self._left:
                    going_on = self._finish(sink)
            else:  # both headers are of six bytes
                length = min(HEADER.size - len(self._head), end - start)
                self._head += view[start : start + length]
                start += length
                if len(self._head) == HEADER.size:
                    head, self._head = self._head, b""
                    going_on = self._begin_fragment(head, sink) if self._left else self._begin(head)
        return start

    def _begin(self, head: bytes) -> bool:
        number, length = HEADER.unpack(head)
        kind = _KINDS.get(number)
        if kind is None:
            raise wrong_pdu(f"PDU type {number:02X}", AbortReason.UNRECOGNIZED_PDU)
        if kind not in self.state.value:
            raise wrong_pdu(f"{kind.name} while {self.state.name}", AbortReason.UNEXPECTED_PDU)
        if kind is Pdu.DATA:
            shortest, longest = PDV_HEADER.size, self._longest
        else:
            shortest, longest = 4, _LONGEST_REQUEST if kind is Pdu.ASSOCIATE_RQ else _LONGEST_OTHER
        if not shortest <= length <= longest:
            raise wrong_pdu(f"{kind.name} of {length} bytes")
        self._kind, self._left = kind, length
        return True

    def _finish(self, sink: Sink) -> bool:
        kind, body = self._kind, bytes(self._body)
        self._kind, self._body = None, bytearray()
        return kind is None or sink.pdu(kind, body)

    def _begin_fragment(self, head: bytes, sink: Sink) -> bool:
        length, self._context_id, self._control = PDV_HEADER.unpack(head)
        self._left -= length + 4
        if length < 2 or self._left < 0 or 0 < self._left < PDV_HEADER.size:
            raise wrong_pdu(f"fragment of {length} bytes")
        self._fragment_left = length - 2
        return bool(self._fragment_left) or sink.fragment(self._context_id, self._control, memoryview(b""), True)
