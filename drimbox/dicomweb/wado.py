"""WADO-RS: from what a story offers and what the caller accepts to an answer (PS3.18 §10.4)."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from drimbox import __version__
from drimbox.dicomweb.accept import (
    Choice,
    accepts_gzip,
    choose_bulkdata,
    choose_frame,
    choose_instance,
    choose_plain,
)
from drimbox.dicomweb.answers import Answer, Stream, gzipped, is_unchanged, validators
from drimbox.dicomweb.media_types import DICOM, DICOM_JSON, EXPLICIT_LITTLE_ENDIAN, JSON, OCTET_STREAM
from drimbox.dicomweb.multipart import Multipart
from drimbox.dicomweb.request import Request
from drimbox.errors import Malformed
from drimbox.flows.ahead import in_order
from drimbox.flows.retrieve import MOST_AT_ONCE_BYTES, Frame, Offer, Retrieve
from drimbox.model import InstanceRef
from drimbox.problems import Headers

MOST_FRAMES: Final = 10_000

_FRAME_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*", re.ASCII)
_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))", re.ASCII)


@dataclass(frozen=True)
class Wado:
    """The four retrievals, on one `Retrieve`. root: of every URL we write."""

    retrieve: Retrieve
    root: str

    def url(self, ref: InstanceRef) -> str:
        """Where an instance is retrieved."""
        return f"{self.root}/studies/{ref.study_uid}/series/{ref.series_uid}/instances/{ref.sop_uid}"

    # --- Instances ------------------------------------------------------------------------------------------------

    async def instances(self, request: Request, study: str, series: str = "", sop: str = "") -> Answer:
        """A study, a series or an instance, each instance a Part 10 file."""
        ranges = request.accept
        offers = await self.retrieve.instances(request.credentials, study, series, sop)
        offers, choices = await self._chosen(offers, lambda possible: choose_instance(ranges, possible, one=bool(sop)))
        syntaxes = [choice.transfer_syntax for choice in choices]
        if sop:
            if choices[0].multipart:
                answer = self._instances_together(request, offers, syntaxes)
            else:
                answer = self._instance_alone(request, offers[0], syntaxes[0])
            if answer.length is None and not isinstance(answer.body, bytes):
                # Made for the occasion: what fails in the making is then still refused with a status.
                return replace(answer, body=await _gathered(answer.body))
            return answer
        # A study may have twenty thousand instances, so as many headers to measure.
        return await asyncio.to_thread(self._instances_together, request, offers, syntaxes)

    def _instance_alone(self, request: Request, offer: Offer, syntax: str) -> Answer:
        headers, unchanged = _validated(request, [offer], ["alone", syntax])
        if unchanged:
            return Answer(304, headers)
        headers.append((b"content-type", f"{DICOM};transfer-syntax={syntax}".encode()))
        return Answer(200, headers, self.retrieve.read_instance(offer, syntax), _length(offer, syntax))

    def _instances_together(self, request: Request, offers: Sequence[Offer], syntaxes: Sequence[str]) -> Answer:
        headers, unchanged = _validated(request, offers, syntaxes)
        if unchanged:
            return Answer(304, headers)
        multipart = _multipart(DICOM, syntaxes)
        headers.append((b"content-type", multipart.content_type.encode()))
        length = self._instances_length(multipart, offers, syntaxes)
        return Answer(200, headers, self._instance_parts(multipart, offers, syntaxes), length)

    def _instances_length(self, multipart: Multipart, offers: Sequence[Offer], syntaxes: Sequence[str]) -> int | None:
        """The length of the whole body, when every instance goes as it is kept."""
        total = len(multipart.closing())
        for number, (offer, syntax) in enumerate(zip(offers, syntaxes, strict=True)):
            length = _length(offer, syntax)
            if length is None:
                return None
            total += length + len(multipart.opening(syntax, self.url(offer.held.ref), length, first=number == 0))
        return total

    async def _instance_parts(self, multipart: Multipart, offers: Sequence[Offer], syntaxes: Sequence[str]) -> Stream:
        parts = list(zip(offers, syntaxes, strict=True))
        makers = [partial(self.retrieve.read_instance, *part) for part in parts]
        is_made = any(_length(*part) is None for part in parts)
        first = True
        async with aclosing(in_order(makers, self.retrieve.ahead if is_made else 0)) as contents:
            for offer, syntax in parts:
                opening = multipart.opening(syntax, self.url(offer.held.ref), _length(offer, syntax), first=first)
                first = False
                async with aclosing(await anext(contents)) as chunks:
                    async for chunk in chunks:
                        yield opening + chunk  # one write for a part that fits in a chunk
                        opening = b""
        yield multipart.closing()

    async def _chosen(
        self, offers: Sequence[Offer], choose: Callable[[tuple[str, ...]], Choice]
    ) -> tuple[list[Offer], list[Choice]]:
        """The choice for each offer, thought over again where the pixels themselves rule it out."""
        choices = _choices(offers, choose)
        syntaxes = [choice.transfer_syntax for choice in choices]
        ready = ((offer.possible[0], EXPLICIT_LITTLE_ENDIAN) for offer in offers)
        if all(syntax in cheap for syntax, cheap in zip(syntaxes, ready, strict=True)):
            return list(offers), choices
        narrowed = await self.retrieve.narrowed(offers, syntaxes)
        return narrowed, _choices(narrowed, choose)

    # --- Frames ---------------------------------------------------------------------------------------------------

    async def frames(self, request: Request, study: str, series: str, sop: str, frame_list: str) -> Answer:
        """Some frames of an instance."""
        ranges, numbers = request.accept, read_frame_list(frame_list)
        offer = await self.retrieve.frames(request.credentials, study, series, sop, numbers)
        one = len(numbers) == 1
        (offer,), (choice,) = await self._chosen([offer], lambda possible: choose_frame(ranges, possible, one=one))
        headers, unchanged = _validated(request, [offer], [choice.media_type, choice.transfer_syntax, frame_list])
        if unchanged:
            return Answer(304, headers)
        frames = self.retrieve.read_frames(offer, choice.transfer_syntax, numbers)
        multipart = _multipart(choice.media_type, [choice.transfer_syntax])
        alone = f"{choice.media_type};transfer-syntax={choice.transfer_syntax}"
        headers.append((b"content-type", (multipart.content_type if choice.multipart else alone).encode()))
        location = f"{self.url(offer.held.ref)}/frames/"
        body = _frame_parts(multipart if choice.multipart else None, choice, frames, location, numbers)
        # One frame that is small enough leaves in one write, with its length.
        return Answer(200, headers, await _gathered(body) if len(numbers) == 1 else body)

    # --- Metadata -------------------------------------------------------------------------------------------------

    async def metadata(self, request: Request, study: str, series: str = "", sop: str = "") -> Answer:
        """The metadata of every instance of a study or a series, or of one, as a JSON array."""
        media_type = choose_plain(request.accept, (DICOM_JSON, JSON))
        offers = await self.retrieve.metadata(request.credentials, study, series, sop)
        headers, unchanged = _validated(request, offers, ["metadata", __version__, self.root])
        if unchanged:
            return Answer(304, headers)
        headers.append((b"content-type", media_type.encode()))
        body: Stream = self.retrieve.read_metadata(offers, lambda ref: f"{self.url(ref)}/bulkdata")
        if accepts_gzip(request.headers.get("accept-encoding", "")):
            headers.append((b"content-encoding", b"gzip"))
            body = gzipped(body)
        return Answer(200, headers, body)

    # --- Bulk data ------------------------------------------------------------------------------------------------

    async def bulkdata(self, request: Request, study: str, series: str, sop: str, path: str) -> Answer:
        """One value that the metadata left out. Sent alone, it may be asked for in part (RFC 9110 §14)."""
        as_parts = choose_bulkdata(request.accept)
        value = await self.retrieve.bulkdata(request.credentials, study, series, sop, path)
        headers, unchanged = _validated(request, [Offer(value.held, ())], ["bulkdata", path])
        if unchanged:
            return Answer(304, headers)
        if as_parts:
            multipart = _multipart(OCTET_STREAM, [])
            opening = multipart.opening("", f"{self.url(value.held.ref)}/bulkdata/{path}", value.length, first=True)
            length = len(opening) + value.length + len(multipart.closing())
            headers.append((b"content-type", multipart.content_type.encode()))
            body = _between(opening, self.retrieve.read_bulkdata(value), multipart.closing())
            return Answer(200, headers, body, length)
        headers += [(b"content-type", OCTET_STREAM.encode()), (b"accept-ranges", b"bytes")]
        part = read_range(request.headers.get("range", ""), value.length)
        if part is None or "if-range" in request.headers:
            return Answer(200, headers, self.retrieve.read_bulkdata(value), value.length)
        start, length = part
        if length < 1:
            return Answer(416, [(b"content-range", f"bytes */{value.length}".encode())])
        headers.append((b"content-range", f"bytes {start}-{start + length - 1}/{value.length}".encode()))
        return Answer(206, headers, self.retrieve.read_bulkdata(value, start, length), length)


def read_frame_list(text: str) -> tuple[int, ...]:
    """The frame numbers of `text`, separated by commas, each once, in the order written. Raises Malformed."""
    if not _FRAME_LIST.fullmatch(text):
        raise Malformed("frames", "a list of frame numbers separated by commas is expected (PS3.18 §10.4.1.1.6)")
    numbers = tuple(int(number) for number in text.split(","))
    if len(numbers) > MOST_FRAMES:
        raise Malformed("frames", f"more than {MOST_FRAMES} in one request")
    if len(set(numbers)) != len(numbers):
        raise Malformed("frames", "each is asked for once")
    return numbers


def read_range(text: str, size: int) -> tuple[int, int] | None:
    """Start and length of the one range asked for; a length of 0 when it lies outside; None for the whole.

    Several ranges, or one that cannot be read, mean the whole, as RFC 9110 §14.2 allows: they cost us nothing then.
    """
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if not found:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return size - length, length
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return start, max(0, end - start + 1)


def _choices(offers: Sequence[Offer], choose: Callable[[tuple[str, ...]], Choice]) -> list[Choice]:
    """The choice for each offer; thought over once for each different offer."""
    made: dict[tuple[str, ...], Choice] = {}
    for offer in offers:
        if offer.possible not in made:
            made[offer.possible] = choose(offer.possible)
    return [made[offer.possible] for offer in offers]


def _length(offer: Offer, transfer_syntax: str) -> int | None:
    """Of the instance in this syntax; None when it is not made yet."""
    return offer.held.size_bytes if transfer_syntax == offer.held.transfer_syntax else None


def _multipart(media_type: str, syntaxes: Sequence[str]) -> Multipart:
    return Multipart(secrets.token_hex(16), media_type, syntaxes[0] if len(set(syntaxes)) == 1 else "")


def _validated(request: Request, offers: Sequence[Offer], form: Sequence[str]) -> tuple[Headers, bool]:
    """ETag and Last-Modified of these instances in this form, and whether the caller holds that already.

    The tag is weak: the bytes of a multipart depend on its boundary. What is kept under a UID never changes.
    """
    known = hashlib.sha256("\n".join(form).encode())
    for offer in offers:
        known.update(offer.held.ref.sop_uid.encode())
        known.update(offer.held.digest)
    etag = f'W/"{known.hexdigest()[:32]}"'
    headers = validators(etag, max(offer.held.kept_at for offer in offers))
    return headers, is_unchanged(etag, request.headers.get("if-none-match", ""))


async def _frame_parts(
    multipart: Multipart | None,
    choice: Choice,
    frames: AsyncGenerator[Frame, None],
    location: str,
    numbers: Sequence[int],
) -> Stream:
    """The frames as parts of `multipart`, or alone."""
    async with aclosing(frames):
        position = 0
        async for frame in frames:
            opening = b""
            if multipart:
                where = f"{location}{numbers[position]}"
                opening = multipart.opening(choice.transfer_syntax, where, frame.length, first=position == 0)
            position += 1
            async with aclosing(frame.chunks) as chunks:
                async for chunk in chunks:
                    yield opening + chunk if opening else chunk
                    opening = b""
    if multipart:
        yield multipart.closing()


async def _gathered(body: Stream) -> bytes | Stream:
    """The whole body when it is small enough to hold, else the same body."""
    begun: list[bytes] = []
    size = 0
    while size <= MOST_AT_ONCE_BYTES:
        chunk = await anext(body, None)
        if chunk is None:
            return b"".join(begun)
        begun.append(chunk)
        size += len(chunk)
    return _between(b"".join(begun), body, b"")


async def _between(before: bytes, chunks: Stream, after: bytes) -> Stream:
    yield before
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
    if after:
        yield after
