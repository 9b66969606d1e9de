"""All bulk data, or all pixel data, of a study, a series or an instance (PS3.18 §10.4.1.1.5 and §10.4.1.1.7).

Each value is a part under the URL its metadata give. Pixel data in fragments are a part a frame, in the syntax that the
caller likes best, as from `frames`.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicomweb.accept import choose_bulkdata, choose_frame
from drimbox.dicomweb.answers import Answer, Stream
from drimbox.dicomweb.media_types import OCTET_STREAM
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.request import Request
from drimbox.dicomweb.wado import validated
from drimbox.errors import NotFound
from drimbox.flows.bulk import Bulk
from drimbox.flows.retrieve import Offer
from drimbox.model import InstanceRef

Chunks = AsyncGenerator[bytes | bytearray, None]


@dataclass(frozen=True, slots=True)
class _Part:
    media_type: str
    transfer_syntax: str
    location: str
    length: int
    chunks: Chunks


@dataclass(frozen=True)
class Values:
    """These resources of one archive. url: where an instance is retrieved."""

    bulk: Bulk
    url: Callable[[InstanceRef], str]

    async def answer(self, request: Request, uids: Sequence[str], *, pixels_only: bool) -> Answer:
        """A multipart of every value. uids: of a study, perhaps of a series and an instance. Raises NotFound."""
        study, series, sop = (*uids, "", "")[:3]
        offers = await self.bulk.offers(request.credentials, study, series, sop)
        if any(not _in_fragments(offer) for offer in offers):
            choose_bulkdata(request.accept)  # raises what the caller cannot read
        forms = [self._form(request, offer) for offer in offers]
        headers, unchanged = validated(request, offers, ["values", str(pixels_only), *(form[0] for form in forms)])
        if unchanged:
            return Answer(304, headers)
        multipart = Multipart(secrets.token_hex(16), forms[0][1])
        headers.append((b"content-type", multipart.content_type.encode()))
        return Answer(200, headers, self._together(multipart, offers, forms, pixels_only))

    def _form(self, request: Request, offer: Offer) -> tuple[str, str]:
        """Transfer syntax and media type of the frames of an instance; those of its values where they are no frames."""
        if not _in_fragments(offer):
            return "", OCTET_STREAM
        choice = choose_frame(request.accept, offer.possible, one=False)
        return choice.transfer_syntax, choice.media_type

    async def _together(
        self, multipart: Multipart, offers: Sequence[Offer], forms: Sequence[tuple[str, str]], pixels_only: bool
    ) -> Stream:
        first = True
        for offer, (syntax, media_type) in zip(offers, forms, strict=True):
            async with aclosing(self._parts(offer, syntax, media_type, pixels_only)) as parts:
                async for part in parts:
                    own = replace(multipart, media_type=part.media_type)
                    opening = own.opening(part.transfer_syntax, part.location, part.length, first=first)
                    async with aclosing(part.chunks) as chunks:
                        async for chunk in chunks:
                            yield opening + chunk if opening else chunk
                            opening, first = b"", False
        if first:
            raise NotFound("bulk data", "there are none: the metadata hold every value")
        yield multipart.closing()

    async def _parts(
        self, offer: Offer, syntax: str, media_type: str, pixels_only: bool
    ) -> AsyncGenerator[_Part, None]:
        place, retrieve = self.url(offer.held.ref), self.bulk.retrieve
        await retrieve.sound.check(offer.held, retrieve.verify)
        for path, value in await asyncio.to_thread(self.bulk.values, offer.held, pixels_only=pixels_only):
            chunks = retrieve.read_bulkdata(value)
            yield _Part(OCTET_STREAM, "", f"{place}/bulkdata/{path}", value.length, chunks)
        if not syntax:
            return
        spans = await retrieve.archive.spans(offer.held)
        # A film is one stream, whatever number of frames it has.
        numbers = list(dict.fromkeys(span.frame_number for span in spans)) or range(1, offer.held.number_of_frames + 1)
        located = retrieve.locate(offer._replace(spans=spans), syntax, numbers)
        order = iter(numbers)
        async with aclosing(retrieve.read_frames(offer, located, numbers)) as frames:
            async for frame in frames:
                where = f"{place}/frames/{next(order)}"
                yield _Part(media_type, syntax, where, frame.length, frame.chunks)


def _in_fragments(offer: Offer) -> bool:
    """Are its pixels frames, and no value that could be given as it is?"""
    known = TRANSFER_SYNTAXES.get(offer.held.transfer_syntax)
    return offer.held.number_of_frames > 0 and known is not None and known.encapsulated
