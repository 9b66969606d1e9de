"""Fetching a series from another DRIMbox by WADO-RS (drim-m.md C.3, D.2; PS3.18 §10.4)."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from drimbox.dicom.part10 import MOST_PREFACE_BYTES, PREAMBLE_BYTES, PREFIX, InMemory, read_preface
from drimbox.dicom.parts import Event, Limits, PartBegin, PartData, PartReader, read_boundary
from drimbox.dicom.uid import checked_uid
from drimbox.egress import Egress, Identity, Streaming
from drimbox.errors import Denied, Malformed, NotAcceptable, NotFound, Unavailable, Unidentified
from drimbox.peers.known import build_series_url
from drimbox.settings import KnownPeer, Peers

_JPEG = "1.2.840.10008.1.2.4."
# The lossless profile of the national test set, letter for letter, trailing comma included: sources compare it.
_LOSSLESS = (
    (f"{_JPEG}70", "0.9"),
    (f"{_JPEG}80", "0.8"),
    (f"{_JPEG}91", "0.6"),
    (f"{_JPEG}50", "0.5"),
    (f"{_JPEG}51", "0.5"),
    (f"{_JPEG}100", "0.5"),
    (f"{_JPEG}101", "0.5"),
    (f"{_JPEG}102", "0.5"),
    (f"{_JPEG}103", "0.5"),
    ("1.2.840.10008.1.2.1", "0.4"),
)
RANKED_ACCEPT: Final = "".join(
    f'multipart/related; type="application/dicom";transfer-syntax={uid};q={q};boundary=**,' for uid, q in _LOSSLESS
)
# Nothing is added to the official list: a source that validates it would refuse. When it answers 406 (HEVC video, say,
# which nobody can transcode) we ask once more for what it has, as it is (PS3.18 §8.7.3.5.2).
STORED_ACCEPT: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'

_SERIES_S: Final = 3600.0  # the longest a whole series may take; silence is cut by peers.timeout_s
_PREFIX_BYTES: Final = PREAMBLE_BYTES + len(PREFIX) + MOST_PREFACE_BYTES


@dataclass(frozen=True, slots=True)
class Incoming:
    """One instance that is arriving: what its preface says, and its data set.

    chunks: the bytes after the preface, as sent, to be read before the next instance is asked for; what is left is
    skipped. sop_class_uid and sop_uid are empty when the preface is silent.
    """

    sop_class_uid: str
    sop_uid: str
    transfer_syntax: str
    chunks: AsyncIterator[memoryview]


@dataclass(frozen=True)
class PeerClient:
    """Speaks to other DRIMboxes. identity: our client certificate, when peers ask for one."""

    egress: Egress
    peers: Peers
    identity: Identity | None = None
    limits: Limits = field(default_factory=Limits)

    async def fetch_series(
        self, peer: KnownPeer, study_uid: str, series_uid: str, manifest_uid: str, token: str
    ) -> AsyncGenerator[Incoming, None]:
        """Give the instances of a series one after the other, as they arrive; fewer than the manifest lists may come.

        peer: as `locate` gave it. manifest_uid: SOP Instance UID of the KOS. token: the reader's, may be empty.
        Raises NotFound, NotAcceptable, Unidentified, Denied, Unavailable as the peer answers; Malformed or TooLarge
        when what it sends cannot be read, after the instances that could. Close the generator if you leave it early.
        """
        url = build_series_url(peer, study_uid, series_uid)
        headers = {"KOS-SOPInstanceUID": checked_uid(manifest_uid)}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        for accept in (RANKED_ACCEPT, STORED_ACCEPT):
            async with self._get(url, {**headers, "Accept": accept}) as answer:
                if answer.status == 406 and accept is RANKED_ACCEPT:
                    continue
                if answer.status not in (200, 206):
                    _refuse(peer, answer.status)
                boundary = read_boundary(answer.headers.get("content-type", ""))
                async for incoming in _Instances(answer.chunks, PartReader(boundary, self.limits)):
                    yield incoming
                return

    def _get(self, url: str, headers: dict[str, str]) -> AbstractAsyncContextManager[Streaming]:
        return self.egress.stream(
            url,
            headers=headers,
            identity=self.identity,
            ca=self.peers.ca,
            timeout_s=_SERIES_S,
            idle_s=self.peers.timeout_s,
        )


def _refuse(peer: KnownPeer, status: int) -> NoReturn:
    """Say why the peer gave nothing. The name comes from the configuration."""
    match status:
        case 204 | 404 | 410:
            raise NotFound("series", f"{peer.name} does not hold it, or no longer")
        case 406 | 415:
            raise NotAcceptable("series", f"{peer.name} has it in no transfer syntax we can read")
        case 401:
            raise Unidentified("series", f"{peer.name} does not recognise the professional")
        case 403:
            raise Denied("series", f"{peer.name} refuses access")
    raise Unavailable(peer.name, f"it answers {status}")


class _Instances:
    """The instances in a body. A part is read no further than its reader asks."""

    def __init__(self, chunks: AsyncIterator[bytes], reader: PartReader) -> None:
        self._chunks = chunks
        self._reader = reader
        self._events: deque[Event] = deque()

    def __aiter__(self) -> "_Instances":
        return self

    async def __anext__(self) -> Incoming:
        while True:
            match await self._next_event():
                case PartBegin(headers):
                    media_type = headers.get("content-type", "application/dicom").partition(";")[0]
                    if media_type.strip().lower() != "application/dicom":
                        raise Malformed("multipart", "a part is not application/dicom")
                    return await self._open()
                case None:
                    raise StopAsyncIteration

    async def _open(self) -> Incoming:
        """Hold back as much as a preface may take; the first chunk is what of it is already data set."""
        prefix = bytearray()
        whole = False
        while not whole and len(prefix) < _PREFIX_BYTES:
            match await self._next_event():
                case PartData(view):
                    prefix += view
                case _:
                    whole = True
        head = bytes(prefix)
        preface = read_preface(InMemory(head))
        content = _Content(self, memoryview(head)[preface.data_set_offset :], whole)
        return Incoming(preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax, content)

    async def next_content(self) -> memoryview | None:
        """More bytes of the current part, None at its end."""
        event = await self._next_event()
        return event.view if isinstance(event, PartData) else None

    async def _next_event(self) -> Event | None:
        """The next event, None after the last. What follows the closing delimiter is read, so that the connection can
        serve again."""
        while not self._events:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self._reader.close()
                return None
            self._events.extend(self._reader.feed(chunk))
        return self._events.popleft()


class _Content:
    """The data set of the instance being read."""

    def __init__(self, instances: _Instances, first: memoryview, whole: bool) -> None:
        self._instances = instances
        self._first = first
        self._whole = whole

    def __aiter__(self) -> "_Content":
        return self

    async def __anext__(self) -> memoryview:
        if self._first:
            first, self._first = self._first, memoryview(b"")
            return first
        view = None if self._whole else await self._instances.next_content()
        if view is None:
            self._whole = True
            raise StopAsyncIteration
        return view
