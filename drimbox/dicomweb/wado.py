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

from drimbox.dicomweb.accept import Choice, choose_bulkdata, choose_frame, choose_instance
from drimbox.dicomweb.answers import Answer, Stream, is_unchanged, validators
from drimbox.dicomweb.media_types import DICOM, EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM
from drimbox.dicomweb.multipart import CRLF, Multipart
from drimbox.dicomweb.ranges import in_part
from drimbox.dicomweb.request import Request
from drimbox.errors import Malformed
from drimbox.flows.ahead import in_order
from drimbox.flows.retrieve import MOST_AT_ONCE_BYTES, Frame, Located, Offer, Retrieve
from drimbox.model import InstanceRef
from drimbox.problems import Headers

MOST_FRAMES: Final = 10_000

_IN_ONE_WRITE_BYTES: Final = 2**20  # an instance up to this size leaves in one write with what is around it
_EXPECTED_BYTES: Final = 2**23  # of the instances after this one, which the disk may begin to read

_FRAME_LIST = re.compile(r"[0-9]{1,9}(-[0-9]{1,9})?(,[0-9]{1,9}(-[0-9]{1,9})?)*", re.ASCII)


@dataclass(frozen=True)
class Wado:
    """The retrievals of bytes, on one `Retrieve`. root: of every URL we write."""

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
        if not sop:
            # A study may have twenty thousand instances, so as many headers to measure.
            return await asyncio.to_thread(self._instances_together, request, offers, syntaxes)
        if choices[0].multipart:
            answer = self._instances_together(request, offers, syntaxes)
        else:
            answer = await self._instance_alone(request, offers[0], syntaxes[0])
        if isinstance(answer.body, bytes | bytearray) or request.is_head:
            return answer
        if answer.length is None or answer.length <= _IN_ONE_WRITE_BYTES:
            # What fails in the making, or in the checking, is then still refused with a status.
            return replace(answer, body=await _gathered(answer.body))
        return answer

    async def _instance_alone(self, request: Request, offer: Offer, syntax: str) -> Answer:
        headers, unchanged = validated(request, [offer], ["alone", syntax], strong=True)
        if unchanged:
            return Answer(304, headers)
        headers.append((b"content-type", f"{DICOM};transfer-syntax={syntax}".encode()))
        length = _length(offer, syntax)
        whole = Answer(200, headers, self.retrieve.read_instance(offer, syntax), length)
        if length is None:
            return whole
        if length > MOST_AT_ONCE_BYTES or request.is_head:
            return in_part(request, whole, length, partial(self.retrieve.read_part, offer.held, [(0, length)]))
        content = bytearray(length)
        await self.retrieve.fill_instance(offer.held, memoryview(content))
        return in_part(request, replace(whole, body=content), length, lambda start, size: content[start : start + size])

    def _instances_together(self, request: Request, offers: Sequence[Offer], syntaxes: Sequence[str]) -> Answer:
        headers, unchanged = validated(request, offers, syntaxes)
        if unchanged:
            return Answer(304, headers)
        multipart = _multipart(DICOM, syntaxes)
        headers.append((b"content-type", multipart.content_type.encode()))
        length = self._instances_length(multipart, offers, syntaxes)
        parts = self._made_parts if length is None else self._kept_parts
        return Answer(200, headers, parts(multipart, offers, syntaxes), length)

    def _instances_length(self, multipart: Multipart, offers: Sequence[Offer], syntaxes: Sequence[str]) -> int | None:
        """The length of the whole body, when every instance goes as it is kept."""
        around = {syntax: multipart.least_opening(syntax) for syntax in set(syntaxes)}
        total = len(multipart.closing()) - len(CRLF)  # which the first part does not begin with
        total += len(offers) * len(self.url(InstanceRef("", "", "")))
        for offer, syntax in zip(offers, syntaxes, strict=True):
            held, length = offer.held, _length(offer, syntax)
            if length is None:
                return None
            total += around[syntax] + len(held.study_uid) + len(held.series_uid) + len(held.sop_uid)
            total += len(str(length)) + length
        return total

    async def _made_parts(self, multipart: Multipart, offers: Sequence[Offer], syntaxes: Sequence[str]) -> Stream:
        """Instances some of which must be made: the next ones are begun while one leaves."""
        parts = list(zip(offers, syntaxes, strict=True))
        makers = [partial(self.retrieve.read_instance, *part) for part in parts]
        first = True
        async with aclosing(in_order(makers, self.retrieve.ahead)) as contents:
            for offer, syntax in parts:
                opening = multipart.opening(syntax, self.url(offer.held.ref), _length(offer, syntax), first=first)
                first = False
                async with aclosing(await anext(contents)) as chunks:
                    async for chunk in chunks:
                        yield opening + chunk if opening else chunk
                        opening = b""
        yield multipart.closing()

    async def _kept_parts(self, multipart: Multipart, offers: Sequence[Offer], syntaxes: Sequence[str]) -> Stream:
        """Instances that go as they are kept; the disk reads ahead of us."""
        expected = 1
        for number, (offer, syntax) in enumerate(zip(offers, syntaxes, strict=True)):
            expected = self._expect(offers, number, expected)
            length = offer.held.size_bytes
            opening = multipart.opening(syntax, self.url(offer.held.ref), length, first=number == 0)
            if length <= _IN_ONE_WRITE_BYTES:
                part = bytearray(len(opening) + length)
                part[: len(opening)] = opening
                await self.retrieve.fill_instance(offer.held, memoryview(part)[len(opening) :])
                yield part
                continue
            async with aclosing(self.retrieve.read_instance(offer, syntax)) as chunks:
                async for chunk in chunks:
                    yield opening + chunk if opening else chunk
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

    def _expect(self, offers: Sequence[Offer], number: int, expected: int) -> int:
        """Have those after `number` read ahead when that many are not yet; the number up to which they are."""
        if expected > number + 1:
            return expected
        end, size = number + 1, 0
        while end < len(offers) and size < _EXPECTED_BYTES:
            size += offers[end].held.size_bytes
            end += 1
        if end > number + 1:
            self.retrieve.archive.expect([offer.held for offer in offers[number + 1 : end]])
        return end

    # --- Frames ---------------------------------------------------------------------------------------------------

    async def frames(self, request: Request, study: str, series: str, sop: str, frame_list: str) -> Answer:
        """Some frames of an instance."""
        ranges, numbers = request.accept, read_frame_list(frame_list)
        offer = await self.retrieve.frames(request.credentials, study, series, sop, numbers)
        one = len(numbers) == 1
        (offer,), (choice,) = await self._chosen([offer], lambda possible: choose_frame(ranges, possible, one=one))
        form = [choice.media_type, choice.transfer_syntax, frame_list]
        headers, unchanged = validated(request, [offer], form, strong=not choice.multipart)
        if unchanged:
            return Answer(304, headers)
        located = self.retrieve.locate(offer, choice.transfer_syntax, numbers)
        multipart = _multipart(choice.media_type, [choice.transfer_syntax])
        alone = f"{choice.media_type};transfer-syntax={choice.transfer_syntax}"
        headers.append((b"content-type", (multipart.content_type if choice.multipart else alone).encode()))
        parts = _FrameParts(
            multipart if choice.multipart else None, choice, f"{self.url(offer.held.ref)}/frames/", numbers
        )
        if located.in_file:
            return await self._kept_frames(request, headers, offer, located, parts)
        body = parts.around(self.retrieve.read_frames(offer, located, numbers))
        # One frame that is small enough leaves in one write, with its length.
        whole = Answer(200, headers, await _gathered(body) if len(numbers) == 1 else body)
        if choice.multipart or not isinstance(whole.body, bytes):
            return whole
        content = whole.body
        return in_part(request, whole, len(content), lambda start, size: content[start : start + size])

    async def _kept_frames(
        self, request: Request, headers: Headers, offer: Offer, located: Located, parts: "_FrameParts"
    ) -> Answer:
        """Frames that are read from the file as they lie there: their length is known."""
        lengths = [sum(span.length for span in spans) for spans in located.in_file]
        length = parts.length(lengths)
        if request.is_head or len(lengths) > 1 or lengths[0] > MOST_AT_ONCE_BYTES:
            body = parts.around(self.retrieve.read_frames(offer, located, parts.numbers))
            whole = Answer(200, headers, body, length)
            if parts.multipart:
                return whole
            places = [(span.offset, span.length) for span in located.in_file[0]]
            return in_part(request, whole, length, partial(self.retrieve.read_part, offer.held, places))
        opening, closing = parts.opening(0, lengths[0]), parts.closing()
        content = bytearray(length)
        content[: len(opening)], content[length - len(closing) :] = opening, closing
        view = memoryview(content)[len(opening) : len(opening) + lengths[0]]
        await self.retrieve.fill_frame(offer.held, located.in_file[0], view)
        whole = Answer(200, headers, content)
        if parts.multipart:
            return whole
        return in_part(request, whole, length, lambda start, size: content[start : start + size])

    # --- Bulk data ------------------------------------------------------------------------------------------------

    async def bulkdata(self, request: Request, study: str, series: str, sop: str, path: str) -> Answer:
        """One value that the metadata left out. Sent alone, it may be asked for in part (RFC 9110 §14)."""
        as_parts = choose_bulkdata(request.accept)
        value = await self.retrieve.bulkdata(request.credentials, study, series, sop, path)
        form = ["bulkdata", path, str(as_parts)]
        headers, unchanged = validated(request, [Offer(value.held, ())], form, strong=not as_parts)
        if unchanged:
            return Answer(304, headers)
        if as_parts:
            multipart = _multipart(OCTET_STREAM, [])
            opening = multipart.opening("", f"{self.url(value.held.ref)}/bulkdata/{path}", value.length, first=True)
            length = len(opening) + value.length + len(multipart.closing())
            headers.append((b"content-type", multipart.content_type.encode()))
            body = _between(opening, self.retrieve.read_bulkdata(value), multipart.closing())
            return Answer(200, headers, body, length)
        headers.append((b"content-type", OCTET_STREAM.encode()))
        whole = Answer(200, headers, self.retrieve.read_bulkdata(value), value.length)
        return in_part(
            request, whole, value.length, lambda start, size: self.retrieve.read_bulkdata(value, start, size)
        )


def read_frame_list(text: str) -> tuple[int, ...]:
    """The frame numbers of `text`, separated by commas, each once, in the order written. Raises Malformed.

    `1-40` is told as the forty of them: no edition of PS3.18 has it, and some viewers send it.
    """
    if not _FRAME_LIST.fullmatch(text):
        raise Malformed("frames", "a list of frame numbers separated by commas is expected (PS3.18 §10.4.1.1.6)")
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) - int(first) >= MOST_FRAMES or len(numbers) > MOST_FRAMES:
            raise Malformed("frames", f"more than {MOST_FRAMES} in one request")
        numbers += range(int(first), int(last or first) + 1)
    if not 0 < len(numbers) <= MOST_FRAMES:
        raise Malformed("frames", f"from one to {MOST_FRAMES} in one request")
    if len(set(numbers)) != len(numbers):
        raise Malformed("frames", "each is asked for once")
    return tuple(numbers)


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


def validated(
    request: Request, offers: Sequence[Offer], form: Sequence[str], *, strong: bool = False
) -> tuple[Headers, bool]:
    """ETag and Last-Modified of these instances in this form, and whether the caller holds that already.

    The tag of a multipart is weak: its bytes depend on its boundary. What is kept under a UID never changes.
    """
    known = hashlib.sha256("\n".join(form).encode())
    known.update(b"".join([part for offer in offers for part in (offer.held.sop_uid.encode(), offer.held.digest)]))
    etag = f'{"" if strong else "W/"}"{known.hexdigest()[:32]}"'
    headers = validators(etag, max(offer.held.kept_at for offer in offers))
    return headers, is_unchanged(etag, request.headers.get("if-none-match", ""))


@dataclass(frozen=True, slots=True)
class _FrameParts:
    """What is around frames: delimiters and headers of `multipart`; nothing when there is none."""

    multipart: Multipart | None
    choice: Choice
    location: str
    numbers: Sequence[int]

    def opening(self, position: int, length: int) -> bytes:
        if self.multipart is None:
            return b""
        where = f"{self.location}{self.numbers[position]}"
        return self.multipart.opening(self.choice.transfer_syntax, where, length, first=position == 0)

    def closing(self) -> bytes:
        return self.multipart.closing() if self.multipart else b""

    def length(self, lengths: Sequence[int]) -> int:
        """Of all of it, when the frames are so long."""
        around = sum(len(self.opening(position, length)) for position, length in enumerate(lengths))
        return sum(lengths) + around + len(self.closing())

    async def around(self, frames: AsyncGenerator[Frame, None]) -> Stream:
        async with aclosing(frames):
            position = 0
            async for frame in frames:
                opening = self.opening(position, frame.length)
                position += 1
                async with aclosing(frame.chunks) as chunks:
                    async for chunk in chunks:
                        yield opening + chunk if opening else chunk
                        opening = b""
        if closing := self.closing():
            yield closing


async def _gathered(body: Stream) -> bytes | Stream:
    """The whole body when it is small enough to hold, else the same body."""
    begun: list[bytes | bytearray] = []
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
