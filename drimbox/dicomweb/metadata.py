"""The metadata answers of WADO-RS: JSON from what was written ahead, XML made on request (PS3.18 §10.4.1.1.2)."""

import asyncio
import gzip
import hashlib
import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from drimbox import __version__
from drimbox.dicom.packed_json import GzipArray, Packed, gzip_length, inflate
from drimbox.dicomweb.accept import accepts_gzip, choose_metadata
from drimbox.dicomweb.answers import Answer, Stream, gzipped, is_unchanged, validators
from drimbox.dicomweb.media_types import DICOM_XML
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.request import Request
from drimbox.flows.describe import Describe, Description
from drimbox.model import InstanceRef
from drimbox.problems import Headers

AsyncDescriptions = AsyncGenerator[Description, None]

_FEW_SERIES: Final = 4  # read in less than the way to a thread
_SMALL_BYTES: Final = 2**20
_WORTH_PACKING_BYTES: Final = 2**10


@dataclass(frozen=True)
class MetadataAnswers:
    """Of a study, a series or an instance."""

    describe: Describe

    async def answer(self, request: Request, study: str, series: str = "", sop: str = "") -> Answer:
        """The metadata of all its instances. Raises NotAcceptable, NotFound, Corrupt."""
        choice = choose_metadata(request.accept, one=bool(sop))
        packs = accepts_gzip(request.headers.get("accept-encoding", ""))
        if choice.media_type == DICOM_XML:
            return await self._xml(request, study, series, sop, packs=packs, multipart=choice.multipart)
        headers: Headers = [(b"content-type", choice.media_type.encode())]
        if sop:
            return await self._json_of_one(request, headers, InstanceRef(study, series, sop), packs)
        return await self._json(request, headers, study, series, packs)

    async def _json(self, request: Request, headers: Headers, study: str, series: str, packs: bool) -> Answer:
        describe = self.describe
        revisions = await describe.series(request.credentials, study, series)
        etag = _etag([describe.form, str(packs), *(one.series_uid for one in revisions)], [r.name for r in revisions])
        if is_unchanged(etag, request.headers.get("if-none-match", "")):
            return Answer(304, [(b"etag", etag.encode())])
        if packs:
            headers.append((b"content-encoding", b"gzip"))
        if series:
            found: list[Description | None] = [
                describe.written(study, revisions[0]) or await describe.made(study, revisions[0])
            ]
        elif len(revisions) <= _FEW_SERIES:
            found = [describe.written(study, revision) for revision in revisions]
        else:
            found = await asyncio.to_thread(lambda: [describe.written(study, revision) for revision in revisions])
        ready = [one for one in found if one]
        if len(ready) < len(found):  # some are made while the others leave

            async def series_by_series() -> AsyncDescriptions:
                for revision, one in zip(revisions, found, strict=True):
                    yield one or await describe.made(study, revision)

            headers.append((b"etag", etag.encode()))
            return Answer(200, headers, _packed(series_by_series()) if packs else _inflated(series_by_series()))
        headers += validators(etag, max(one.kept_at for one in ready))
        parts = [one.packed for one in ready]
        length = gzip_length(parts) if packs else sum(part.text_bytes + 1 for part in parts) + 1
        pieces = _packed_pieces(parts) if packs else _text_pieces(parts)
        if length <= _SMALL_BYTES:
            return Answer(200, headers, b"".join(pieces))
        return Answer(200, headers, _in_thread(pieces), length)

    async def _json_of_one(self, request: Request, headers: Headers, ref: InstanceRef, packs: bool) -> Answer:
        (held,) = await self.describe.instances(request.credentials, ref.study_uid, ref.series_uid, ref.sop_uid)
        etag = _etag([self.describe.form, str(packs)], [held.digest])
        if is_unchanged(etag, request.headers.get("if-none-match", "")):
            return Answer(304, validators(etag, held.kept_at))
        body = await self.describe.read_json([held])
        if packs and len(body) > _WORTH_PACKING_BYTES:
            headers.append((b"content-encoding", b"gzip"))
            body = await asyncio.to_thread(gzip.compress, body, 1)
        return Answer(200, [*headers, *validators(etag, held.kept_at)], body)

    async def _xml(
        self, request: Request, study: str, series: str, sop: str, *, packs: bool, multipart: bool
    ) -> Answer:
        held = await self.describe.instances(request.credentials, study, series, sop)
        etag = _etag(["xml", __version__, self.describe.form, str(multipart)], [one.digest for one in held])
        headers = validators(etag, max(one.kept_at for one in held))
        if is_unchanged(etag, request.headers.get("if-none-match", "")):
            return Answer(304, headers)
        parts = Multipart(secrets.token_hex(16), DICOM_XML) if multipart else None
        headers.append((b"content-type", (parts.content_type if parts else DICOM_XML).encode()))
        body = self._documents(held, parts)
        if packs:
            headers.append((b"content-encoding", b"gzip"))
            body = gzipped(body)
        return Answer(200, headers, body)

    async def _documents(self, held: Sequence[Any], parts: Multipart | None) -> Stream:
        first = True
        async with aclosing(self.describe.read_xml(held)) as documents:
            async for one, document in documents:
                ref = one.ref
                url = f"{self.describe.root}/studies/{ref.study_uid}/series/{ref.series_uid}/instances/{ref.sop_uid}"
                opening = parts.opening("", f"{url}/metadata", len(document), first=first) if parts else b""
                first = False
                yield opening + document
        if parts:
            yield parts.closing()


def _etag(form: Sequence[str], content: Sequence[bytes]) -> str:
    known = hashlib.sha256("\n".join(form).encode())
    for part in content:
        known.update(part)
    return f'W/"{known.hexdigest()[:32]}"'


def _packed_pieces(parts: Sequence[Packed]) -> Iterator[bytes]:
    array = GzipArray()
    for part in parts:
        yield from array.add(part)
    yield from array.end()


def _text_pieces(parts: Sequence[Packed]) -> Iterator[bytes]:
    opening = b"["
    for part in parts:
        yield opening
        yield from inflate(part)
        opening = b","
    yield b"]"


async def _in_thread(pieces: Iterator[bytes]) -> Stream:
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece


async def _packed(descriptions: AsyncDescriptions) -> Stream:
    array = GzipArray()
    async with aclosing(descriptions):
        async for one in descriptions:
            for piece in array.add(one.packed):
                yield piece
    for piece in array.end():
        yield piece


async def _inflated(descriptions: AsyncDescriptions) -> Stream:
    opening = b"["
    async with aclosing(descriptions):
        async for one in descriptions:
            yield opening
            async for piece in _in_thread(inflate(one.packed)):
                yield piece
            opening = b","
    yield b"]"
