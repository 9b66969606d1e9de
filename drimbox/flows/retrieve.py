"""Someone asks for images we hold: a peer, a viewer, a program. Path (c) of the architecture.

Each story admits first: nothing is looked up before who asks is known, allowed and traced. It then says what there is
and in which transfer syntaxes it can be given; the door chooses one, and draws the bytes from here as fast as they
leave. Memory does not grow with the study: one chunk, or one batch of metadata, is held at a time.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeVar

from drimbox.dicom.attributes import Attributes, text
from drimbox.dicom.checksum import Digest, crc32
from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.found import Found
from drimbox.dicom.json_model import find_bulkdata
from drimbox.dicom.match import OneOf, Query
from drimbox.dicom.scan import Limits
from drimbox.dicom.uid import DEFLATED_EXPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.errors import Corrupt, NotAcceptable, NotFound, TooLarge
from drimbox.flows.admit import Admit
from drimbox.flows.named import Named
from drimbox.flows.sound import Sound
from drimbox.model import Credentials, InstanceRef, Span
from drimbox.pixels.images import Pixels
from drimbox.pixels.kept_file import KeptImage
from drimbox.storage import queries
from drimbox.storage.archive import Archive
from drimbox.storage.index import Held

CHUNK_BYTES: Final = 2**20
MOST_AT_ONCE_BYTES: Final = 2**24
"""A frame up to this size is read and checked before its first byte leaves; a larger one while it leaves."""

T = TypeVar("T")
Chunks = AsyncGenerator[bytes | bytearray, None]


class Offer(NamedTuple):  # and no dataclass: see `Held`
    """An instance, or frames of it, and the transfer syntaxes it can be given in: as it is kept first.

    spans: where the frames that were asked for lie.
    """

    held: Held
    possible: tuple[str, ...]
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Bulkdata:
    """One value of an instance: `length` bytes of the kept file, or `content` where the file is deflated."""

    held: Held
    offset: int
    length: int
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Located:
    """Frames that were asked for. in_file: the spans of each, in the order asked; empty when they must be made."""

    transfer_syntax: str
    spans: tuple[Span, ...]
    in_file: tuple[tuple[Span, ...], ...]


@dataclass(frozen=True)
class Retrieve:
    """Answer from one archive. study_uid: when not empty, the only study that exists for whoever asks (a visit).

    named: what those get who name a manifest; without it, naming one changes nothing.
    """

    archive: Archive
    admit: Admit
    pixels: Pixels
    study_uid: str = ""
    named: Named | None = None
    sound: Sound = field(default_factory=Sound)

    @property
    def ahead(self) -> int:
        """Of how many instances that must be made the next may be begun while one leaves."""
        return 2 * self.pixels.pool.size

    # --- Stories --------------------------------------------------------------------------------------------------

    async def search(self, credentials: Credentials, query: Query) -> tuple[list[Attributes], bool]:
        """What matches, as DICOM JSON, and whether more does than was asked for. The trail keeps the keys only."""
        found = await self.find(credentials, query, lambda found: queries.tell(found, query))
        return found[: query.limit], len(found) > query.limit

    async def find(self, credentials: Credentials, query: Query, tell: Callable[[Sequence[Found]], T]) -> T:
        """What matches, as `tell` tells it; one more than the limit of the query when there is more."""
        study_uid = self.study_uid or _one_study(query)
        detail = f"{query.level}: {' '.join(sorted(query.criteria))}"
        traced = await self.admit.begin(credentials, "search", study_uid, detail)
        try:
            found = await self._find(replace(query, limit=query.limit + 1), tell)
        finally:
            await traced  # before anything is said, be it that the search failed
        return found

    async def _find(self, query: Query, tell: Callable[[Sequence[Found]], T]) -> T:
        if self.study_uid:
            asked = query.criteria.get("0020000D")
            if isinstance(asked, OneOf) and asked.values and self.study_uid not in asked.values:
                return tell([])
            query = replace(query, criteria={**query.criteria, "0020000D": OneOf((self.study_uid,))})
        return await self.archive.find(query, tell)

    async def instances(self, credentials: Credentials, study: str, series: str = "", sop: str = "") -> list[Offer]:
        """The instances of a study or of a series, or one of them. Raises NotFound."""
        return await self._offers(credentials, study, series, sop, "instances")

    async def select(self, credentials: Credentials, query: Query, what: str) -> list[Offer]:
        """The instances of every study, series or instance that matches; none when nothing does.

        what: who shall have them, for the trail. Raises TooLarge when more matches than was asked for.
        """
        found, is_more = await self.search(credentials, query)
        if is_more:
            raise TooLarge("retrieval", f"more than {query.limit} match")
        wanted: dict[tuple[str, str], set[str]] = {}
        for item in found:
            study, series, sop = (text(item, tag) for tag in ("0020000D", "0020000E", "00080018"))
            wanted.setdefault((study, series), set()).add(sop)
        offers: list[Offer] = []
        for (study, series), sops in wanted.items():
            with contextlib.suppress(NotFound):  # gone since
                await self.admit(credentials, "retrieve", study, " ".join(filter(None, (what, series))))
                below = await self._held(study, series)
                offers += [offer for offer in below if sops == {""} or offer.held.sop_uid in sops]
        return offers

    async def frames(
        self, credentials: Credentials, study: str, series: str, sop: str, numbers: Sequence[int]
    ) -> Offer:
        """Frames of one instance; they are counted from 1. Raises NotFound when there is no such frame."""
        await self.admit.images(credentials, study, f"frames {series}")
        self._check_study(study)
        found = await self.archive.held_frames(InstanceRef(study, series, sop), numbers)
        if found is None:
            raise NotFound("instance", "not held here")
        held, spans = found
        offer = Offer(held, self.possible_frames(held.transfer_syntax), spans)
        await self._listed(credentials, study, [offer])
        if held.number_of_frames < 1:
            raise NotFound("frame", "this instance has no pixel data")
        if any(not 1 <= number <= held.number_of_frames for number in numbers):
            raise NotFound("frame", f"this instance has {held.number_of_frames}")
        return offer

    async def bulkdata(self, credentials: Credentials, study: str, series: str, sop: str, path: str) -> Bulkdata:
        """One value of an instance, by the path its metadata gave. Raises NotFound, Malformed, Corrupt."""
        held = (await self._offers(credentials, study, series, sop, "bulk data"))[0].held
        await self.sound.check(held, self.verify)  # values have no checksum of their own
        return await asyncio.to_thread(self.bulkdata_at, held, path)

    def bulkdata_at(self, held: Held, path: str) -> Bulkdata:
        """Where a value lies. Reads the file: in a thread. Raises NotFound, Malformed."""
        with self.archive.open(held) as file:
            offset, length = find_bulkdata(file, path)
            if held.transfer_syntax != DEFLATED_EXPLICIT_LITTLE_ENDIAN:
                return Bulkdata(held, offset, length)
            if length > MOST_AT_ONCE_BYTES:
                raise NotAcceptable("bulk data", "too large to inflate: retrieve the instance")
            return Bulkdata(held, offset, length, open_data_set(file, Limits()).source.read_at(offset, length))

    async def _offers(self, credentials: Credentials, study: str, series: str, sop: str, what: str) -> list[Offer]:
        await self.admit.images(credentials, study, f"{what} {series}".strip())
        return await self._listed(credentials, study, await self._held(study, series, sop))

    async def pointed_at(self, credentials: Credentials, study: str, series: str, sop: str = "") -> list[Offer]:
        """What an instance that was given points at, as far as the same credentials may have it; perhaps nothing."""
        try:
            return await self._listed(credentials, study, await self._held(study, series, sop))
        except NotFound:
            return []

    async def _listed(self, credentials: Credentials, study: str, offers: list[Offer]) -> list[Offer]:
        """Those that the manifest lists which was named, if one was. Raises NotFound when it lists none of them."""
        if self.named is not None and credentials.manifest_uid:
            listed = await self.named.instances(study, credentials.manifest_uid)
            offers = [offer for offer in offers if offer.held.sop_uid in listed]
            if not offers:
                raise NotFound("instances", "not in the manifest that was named")
        return offers

    def _check_study(self, study: str) -> None:
        if self.study_uid not in ("", study):
            raise NotFound("study", "not held here")

    async def _held(self, study: str, series: str, sop: str = "") -> list[Offer]:
        self._check_study(study)
        held = await self.archive.held(study, series, sop)
        if not held:
            raise NotFound("instance" if sop else "series" if series else "study", "not held here")
        possible: dict[tuple[str, bool], tuple[str, ...]] = {}  # thought over once for each kind
        offers = []
        for one in held:
            kind = (one.transfer_syntax, one.number_of_frames > 0)
            if kind not in possible:
                possible[kind] = self.pixels.possible(kind[0], has_pixels=kind[1])
            offers.append(Offer(one, possible[kind]))
        return offers

    def possible_frames(self, stored: str) -> tuple[str, ...]:
        """The transfer syntaxes frames of an instance kept in `stored` can be given in, the cheapest first.

        Native frames have one name on the web, Explicit VR Little Endian: PS3.18 §8.7.3 allows neither Implicit VR nor
        Big Endian there, and the bytes of a frame do not know whether VRs were written.
        """
        known = TRANSFER_SYNTAXES.get(stored)
        is_native = known is not None and not known.encapsulated
        return self.pixels.possible(EXPLICIT_LITTLE_ENDIAN if is_native else stored)

    async def narrowed(self, offers: Sequence[Offer], chosen: Sequence[str]) -> list[Offer]:
        """The same offers; those of which the chosen syntax must be encoded, less what their pixels rule out."""
        return await asyncio.to_thread(
            lambda: [self._narrowed(offer, syntax) for offer, syntax in zip(offers, chosen, strict=True)]
        )

    def _narrowed(self, offer: Offer, chosen: str) -> Offer:
        if chosen in (offer.possible[0], EXPLICIT_LITTLE_ENDIAN):
            return offer
        with self.archive.open(offer.held) as file:
            really = set(self.pixels.possible_for(file, offer.held.transfer_syntax))
        first, *others = offer.possible
        return offer._replace(possible=(first, *(syntax for syntax in others if syntax in really)))

    # --- Bytes, once admitted -------------------------------------------------------------------------------------

    async def read_instance(self, offer: Offer, transfer_syntax: str) -> Chunks:
        """The whole instance as a Part 10 file. Raises Corrupt, before the last chunk."""
        held = offer.held
        if transfer_syntax != held.transfer_syntax:
            image = self._image(held, await self.archive.spans(held))
            async with aclosing(self.pixels.instance(image, transfer_syntax)) as pieces:
                async for made in pieces:
                    yield made
            return
        digest = Digest()
        for start in range(0, held.size_bytes, CHUNK_BYTES):
            chunk = bytearray(min(CHUNK_BYTES, held.size_bytes - start))
            await self._fill(held, start, memoryview(chunk), digest)
            yield chunk

    async def fill_instance(self, held: Held, view: memoryview) -> None:
        """Put the whole instance, as it is kept, into `view`, of its size. Raises Corrupt."""
        await self._fill(held, 0, view, Digest())

    async def _fill(self, held: Held, offset: int, view: memoryview, digest: Digest) -> None:
        """A piece of the kept file, counted in the digest, which leaves the preface out and is checked at the end."""
        await self.archive.read_into(held, offset, view)
        digest.update(view[max(0, held.data_set_offset - offset) :])
        if offset + len(view) == held.size_bytes and digest.digest() != held.digest:
            raise Corrupt("instance", "its digest is not the one it was kept with", detail=held.file)

    async def read_data_set(self, offer: Offer) -> AsyncGenerator[bytes, None]:
        """The bytes of its data set as they were received. Raises Corrupt, before the last chunk."""
        skipped = offer.held.data_set_offset
        async with aclosing(self.read_instance(offer, offer.held.transfer_syntax)) as chunks:
            async for chunk in chunks:
                yield bytes(memoryview(chunk)[skipped:])
                skipped = 0

    async def verify(self, held: Held) -> None:
        """Read all of it. Raises Corrupt when it is not what was kept."""
        async with aclosing(self.read_instance(Offer(held, ()), held.transfer_syntax)) as chunks:
            async for _ in chunks:
                pass

    def locate(self, offer: Offer, transfer_syntax: str, numbers: Sequence[int]) -> Located:
        """Where these frames lie. Raises NotFound when that cannot be told, and they cannot be made either."""
        held = offer.held
        spans = offer.spans
        wanted: dict[int, list[Span]] = {number: [] for number in numbers}
        for span in spans:
            wanted[span.frame_number].append(span)
        is_native = transfer_syntax == EXPLICIT_LITTLE_ENDIAN and _has_native_frames(held.transfer_syntax)
        in_file = transfer_syntax == held.transfer_syntax or is_native
        if in_file and all(wanted.values()):
            return Located(transfer_syntax, spans, tuple(tuple(wanted[number]) for number in numbers))
        if transfer_syntax == held.transfer_syntax and transfer_syntax != EXPLICIT_LITTLE_ENDIAN:
            raise NotFound("frame", "its place in the pixel data is not known")
        return Located(transfer_syntax, spans, ())

    async def read_frames(
        self, offer: Offer, located: Located, numbers: Sequence[int]
    ) -> AsyncGenerator["Frame", None]:
        """The frames, in the order asked for. Raises Corrupt, NotFound."""
        held = offer.held
        for spans in located.in_file:
            length = sum(span.length for span in spans)
            if length <= MOST_AT_ONCE_BYTES:
                frame = bytearray(length)
                await self.fill_frame(held, spans, memoryview(frame))
                yield Frame(length, _whole(frame))
            else:
                yield Frame(length, self.read_spans(held, spans))
        if not located.in_file:
            # To be made; or of so few bits that frames do not begin at a byte.
            image = self._image(held, located.spans)
            async with aclosing(self.pixels.frames(image, numbers, located.transfer_syntax)) as frames:
                async for content in frames:
                    yield Frame(len(content), _whole(content))

    def _image(self, held: Held, spans: tuple[Span, ...]) -> KeptImage:
        return KeptImage(self.archive.place(held), held.study_uid, held.transfer_syntax, spans, held.digest)

    async def fill_frame(self, held: Held, spans: Sequence[Span], view: memoryview) -> None:
        """Put a frame into `view`, of its length, one span after the other. Raises Corrupt."""
        start = 0
        for span in spans:
            await self.archive.fill_span(held, span, view[start : start + span.length])
            start += span.length

    async def read_spans(self, held: Held, spans: Sequence[Span]) -> Chunks:
        """The bytes of spans, one after the other. Raises Corrupt, before the last chunk of a span."""
        for span in spans:
            checksum = 0
            async for chunk, is_last in self._pieces(held, span.offset, span.length):
                checksum = crc32(chunk, checksum)
                if is_last and checksum != span.crc32:
                    raise Corrupt("frame", "its checksum is not the one it was kept with", detail=held.file)
                yield chunk

    async def read_bulkdata(self, value: Bulkdata, start: int = 0, length: int | None = None) -> Chunks:
        """`length` bytes of the value from `start`; all of them by default."""
        wanted = value.length - start if length is None else length
        if value.content is not None:
            yield value.content[start : start + wanted]
            return
        async for chunk, _ in self._pieces(value.held, value.offset + start, wanted):
            yield chunk

    async def read_part(self, held: Held, places: Sequence[tuple[int, int]], start: int, length: int) -> Chunks:
        """`length` bytes from `start` of what lies at these offsets and lengths of the kept file. Raises Corrupt."""
        await self.sound.check(held, self.verify)
        for offset, size in places:
            begin, end = max(0, start), min(size, start + length)
            if begin < end:
                async for chunk, _ in self._pieces(held, offset + begin, end - begin):
                    yield chunk
            start -= size

    async def _pieces(self, held: Held, offset: int, length: int) -> AsyncGenerator[tuple[bytearray, bool], None]:
        for start in range(0, length, CHUNK_BYTES):
            chunk = bytearray(min(CHUNK_BYTES, length - start))
            await self.archive.read_into(held, offset + start, memoryview(chunk))
            yield chunk, start + len(chunk) == length


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame on its way out. chunks gives `length` bytes, once."""

    length: int
    chunks: Chunks


async def _whole(content: bytes | bytearray) -> Chunks:
    yield content


def _has_native_frames(transfer_syntax: str) -> bool:
    """Can native little endian frames be read straight from a file kept in this syntax?"""
    known = TRANSFER_SYNTAXES.get(transfer_syntax)
    return known is not None and known.little_endian and not known.deflated and not known.encapsulated


def _one_study(query: Query) -> str:
    """The study a query is limited to, for the trail; "" when it is not."""
    asked = query.criteria.get("0020000D")
    return asked.values[0] if isinstance(asked, OneOf) and len(asked.values) == 1 else ""
