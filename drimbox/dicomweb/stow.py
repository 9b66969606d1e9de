"""STOW-RS: instances as Part 10 files, or as metadata and bulk data, and the answer to them (PS3.18 §10.5, annex I).

A body is read part by part and each instance goes into a spool as it comes, so memory does not grow with the body; a
few are made durable while the next are read. What came before a fault stays, and the answer says so.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import orjson

from drimbox.dicom.composing import Bulk
from drimbox.dicom.parts import (
    End,
    Event,
    Limits,
    PartBegin,
    PartData,
    PartEnd,
    PartReader,
    checked_boundary,
    read_content_type,
)
from drimbox.dicom.xml_model import build_xml
from drimbox.dicomweb.accept import MediaRange, choose_plain
from drimbox.dicomweb.answers import Answer, Receive
from drimbox.dicomweb.media_types import DICOM, DICOM_JSON, DICOM_XML, JSON
from drimbox.dicomweb.request import Request
from drimbox.dicomweb.stow_answer import build_answer
from drimbox.dicomweb.stow_metadata import read_metadata
from drimbox.errors import DrimboxError, Malformed, NoSpace, TooLarge, Unavailable
from drimbox.flows.store import Arriving, Result, Store
from drimbox.problems import problem

MOST_PARTS: Final = 100_000
MOST_METADATA_BYTES: Final = 2**25
MOST_BULK_BYTES: Final = 2**28
"""Metadata and bulk data are put together in memory, one request at a time: larger instances come as Part 10."""

_AT_ONCE: Final = 16  # instances of one body that are made durable together
_TURN_S: Final = 60.0
_ACCEPTED: Final = f'multipart/related; type="{DICOM}", multipart/related; type="{DICOM_JSON}", {DICOM}'


@dataclass(frozen=True)
class Stow:
    """The store service of one archive. root: its public URL, without a slash at the end."""

    store: Store
    root: str
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, request: Request, receive: Receive, study: str) -> Answer:
        """Take what comes. study: of the only study that may come, empty for any."""
        ranges = [MediaRange(r.content_type, "", "", r.q) for r in request.accept]
        form = choose_plain(ranges, (DICOM_JSON, JSON, DICOM_XML))
        reader = await self.store.begin(request.credentials, study)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            return _unsupported("no Content-Encoding is read here")
        media_type, parameters = read_content_type(request.headers.get("content-type", "-/-"))
        kind = parameters.get("type", DICOM).lower() if media_type == "multipart/related" else media_type
        if kind not in (DICOM, DICOM_JSON, DICOM_XML):
            return _unsupported(f"possible here: {_ACCEPTED}")
        boundary = checked_boundary(parameters) if media_type == "multipart/related" else b""
        results: list[Result] = []
        try:
            if kind == DICOM:
                await _Taking(self.store, study, results).all(_events(receive, boundary))
            else:
                await self._composed(kind, _events(receive, boundary), study, results)
        except (Malformed, TooLarge, NoSpace, Unavailable) as error:
            if not any(result.ref for result in results):
                raise
            results.append(Result(failure=error))  # what came before is kept, and must be told
        finally:
            await self.store.end(reader, results)
        if not results:
            raise Malformed("body", "no instance in it")
        status, told = build_answer(results, self.root)
        content = build_xml(told) if form == DICOM_XML else orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        return Answer(status, [(b"content-type", form.encode())], content)

    async def _composed(self, kind: str, events: AsyncIterator[Event], study: str, results: list[Result]) -> None:
        try:
            async with asyncio.timeout(_TURN_S):
                await self.turn.acquire()
        except TimeoutError as error:
            raise Unavailable("metadata and bulk data", "another request is under way") from error
        try:
            metadata, bulk = await _collect(events)
            instances = read_metadata(kind, metadata, bulk)
            while (instance := await asyncio.to_thread(next, instances, None)) is not None:
                names, data_set = instance
                if isinstance(data_set, DrimboxError):
                    results.append(Result(names.sop_class_uid, names.sop_uid, failure=data_set))
                else:
                    results.append(await self.store.composed(names, data_set, study))
        finally:
            self.turn.release()


def _unsupported(why: str) -> Answer:
    status, headers, body = problem(415, why)
    return Answer(status, [*headers, (b"accept", _ACCEPTED.encode())], body)


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The pieces of a body; the listener says how slowly. Raises Unavailable when the caller leaves."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("caller", "went away before the end of the body")
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _events(receive: Receive, boundary: bytes) -> AsyncIterator[Event]:
    """The parts of a body; without a boundary, the body is the only one."""
    if not boundary:
        yield PartBegin({})
        async for chunk in _body(receive):
            yield PartData(memoryview(chunk))
        yield PartEnd()
        return
    reader = PartReader(boundary, Limits(parts=MOST_PARTS))
    async for chunk in _body(receive):
        for event in reader.feed(chunk):
            yield event
    reader.close()


class _Taking:
    """The instances of one body: results in the order of their parts."""

    def __init__(self, store: Store, study: str, results: list[Result]) -> None:
        self._store = store
        self._study = study
        self._results = results
        self._keeping: list[asyncio.Task[Result]] = []
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def all(self, events: AsyncIterator[Event]) -> None:
        """Take every part. What had come whole is kept also when this raises."""
        arriving: Arriving | None = None
        try:
            async for event in events:
                match event:
                    case PartBegin(headers):
                        arriving = self._store.arriving(self._study)
                        _check_part(headers.get("content-type", DICOM), arriving)
                    case PartData(view) if arriving is not None:
                        arriving.feed(view)
                        self._stop_when_full(arriving)
                    case PartEnd() if arriving is not None:
                        await self._room.acquire()
                        self._keeping.append(asyncio.create_task(self._keep(arriving)))
                        arriving = None
                    case End():
                        pass
        finally:
            if arriving is not None:
                arriving.discard()
            self._results += await asyncio.gather(*self._keeping)

    async def _keep(self, arriving: Arriving) -> Result:
        try:
            return await arriving.finish()
        finally:
            self._room.release()

    def _stop_when_full(self, arriving: Arriving) -> None:
        """Nothing else of the body could be kept either."""
        if isinstance(arriving.failure, NoSpace | Unavailable):
            raise arriving.failure


def _check_part(content_type: str, arriving: Arriving) -> None:
    try:
        if read_content_type(content_type)[0] != DICOM:
            raise Malformed("part", "not application/dicom")
    except Malformed as error:
        arriving.failure = error


async def _collect(events: AsyncIterator[Event]) -> tuple[list[bytes], dict[str, Bulk]]:
    """The parts with metadata, and those with bulk data by their Content-Location. Raises TooLarge."""
    metadata: list[bytes] = []
    bulk: dict[str, Bulk] = {}
    headers: dict[str, str] = {}
    content = bytearray()
    size = 0
    async for event in events:
        match event:
            case PartBegin(named):
                headers, content = dict(named), bytearray()
            case PartData(view):
                size += len(view)
                if size > MOST_BULK_BYTES:
                    raise TooLarge("body", f"over {MOST_BULK_BYTES} bytes of metadata and bulk data: send Part 10")
                content += view
            case PartEnd():
                media_type, parameters = read_content_type(headers.get("content-type", DICOM_JSON))
                if media_type in (DICOM_JSON, DICOM_XML, JSON):
                    if sum(map(len, metadata)) + len(content) > MOST_METADATA_BYTES:
                        raise TooLarge("metadata", f"over {MOST_METADATA_BYTES} bytes")
                    metadata.append(bytes(content))
                else:
                    location = headers.get("content-location", "")
                    if not location or location in bulk:
                        raise Malformed("bulk data", "a part has no Content-Location, or that of another")
                    bulk[location] = Bulk(bytes(content), media_type, parameters.get("transfer-syntax", ""))
            case End():
                pass
    return metadata, bulk
