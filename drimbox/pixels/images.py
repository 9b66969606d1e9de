"""Frames and whole instances in another form than they are kept in: the room's face to the flows.

What a frame becomes is told in `decode.py` and `encode.py`, what an instance becomes in `transcode.py`. A change of
form that loses nothing makes no new instance: the SOP Instance UID stays, and so do Lossy Image Compression, its ratio
and its method, which tell the history of the pixels and not their present form (PS3.3 §C.7.6.1.1.5). One that loses
something does: see `derive.py`.

A frame is made once for all who ask at the same time, and again only when the cache has lost it. Frames of one request
are made on all workers at once, and leave in order: the first before the last is made.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, TypeVar

from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import Limits
from drimbox.dicom.part10 import Readable
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.errors import Corrupt, DrimboxError, NotAcceptable
from drimbox.model import Span
from drimbox.pixels.bits import BitJoiner
from drimbox.pixels.cache import FrameCache
from drimbox.pixels.description import read_description
from drimbox.pixels.drawing import Drawing
from drimbox.pixels.kept_file import KeptFile, KeptImage, open_kept
from drimbox.pixels.plan import NATIVE, Target, is_native, narrowed, possible, target_of
from drimbox.pixels.pool import Pool
from drimbox.pixels.protocol import Answer, Job, Kind, read_outline
from drimbox.pixels.transcode import Copy, Frames, Segment, item, swapped

T = TypeVar("T")

_BATCH_BYTES = 4 * 2**20
_MOST_IN_BATCH = 64
_COPY_BYTES = 2**20  # a multiple of every word


@dataclass(frozen=True, slots=True)
class _Batch:
    """Frames in the order asked; fewer where one was refused, and then why."""

    frames: list[bytes]
    refusal: DrimboxError | None


class Pixels:
    """Images from kept ones, made by the workers of `pool`.

    cache: of encoded frames; native ones cost less to make. lossy: may pixels lose something for whoever asks for that
    first? Off unless the operator says otherwise.
    """

    def __init__(self, pool: Pool, cache: FrameCache | None = None, *, lossy: bool = False) -> None:
        self.pool = pool
        self._lossy = lossy
        self.cache = cache if cache and cache.most_bytes else None
        self._under_way: dict[tuple[object, ...], asyncio.Task[Any]] = {}

    async def start(self) -> None:
        """Accept work."""
        await self.pool.start()

    async def stop(self) -> None:
        """Refuse work, and end the workers."""
        await self.pool.stop()

    # --- What there is to choose from -----------------------------------------------------------------------------

    def possible(self, stored: str, *, has_pixels: bool = True) -> tuple[str, ...]:
        """The transfer syntaxes for what is kept in `stored`, that one first, as far as that alone tells."""
        return possible(stored, has_pixels=has_pixels, lossy_allowed=self._lossy)

    def possible_for(self, file: Readable, stored: str) -> tuple[str, ...]:
        """Those that this very image can be given in. Reads its header. Raises Malformed, TooLarge."""
        return narrowed(self.possible(stored), stored, read_description(file))

    # --- Frames ---------------------------------------------------------------------------------------------------

    async def frames(
        self, image: KeptImage, frame_numbers: Sequence[int], transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN
    ) -> AsyncGenerator[bytes, None]:
        """Yield these frames, in the order asked, in this syntax (PS3.18 §8.7.3.3.2).

        frame_numbers count from 1; the same may be asked twice.
        Raises NotFound for a frame that is not there, NotAcceptable when it cannot be made (ask for the stored syntax),
        TooLarge, Corrupt when the file is not what was kept, Unavailable when the workers are too busy. A bad frame is
        found when its turn comes, after those before it were yielded.
        """
        target = target_of(image.transfer_syntax, transfer_syntax, lossy_allowed=self._lossy)
        where = _by_frame(image.spans)
        begun: deque[asyncio.Task[_Batch]] = deque()
        start, step = 0, 1  # the first alone: it leaves soonest, and tells how many make a batch
        try:
            while begun or start < len(frame_numbers):
                while start < len(frame_numbers) and len(begun) <= self.pool.size:
                    if start == 1 and begun:
                        break
                    numbers = tuple(frame_numbers[start : start + step])
                    begun.append(asyncio.create_task(self._batch(image, numbers, where, target)))
                    start += step
                batch = await begun.popleft()
                for frame in batch.frames:
                    yield frame
                    step = max(1, min(_MOST_IN_BATCH, _BATCH_BYTES // max(1, len(frame))))
                if batch.refusal:
                    raise batch.refusal
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _batch(
        self, image: KeptImage, numbers: tuple[int, ...], where: Mapping[int, tuple[Span, ...]], target: Target
    ) -> _Batch:
        return await self._once(
            (image.digest, target, numbers), lambda: self._make_batch(image, numbers, where, target)
        )

    async def _make_batch(
        self, image: KeptImage, numbers: Sequence[int], where: Mapping[int, tuple[Span, ...]], target: Target
    ) -> _Batch:
        found = await self._find(image, numbers, target)
        missing = [number for number in dict.fromkeys(numbers) if number not in found]
        refusal: DrimboxError | None = None
        while missing:
            job = _job(image, "frames", target, missing, [where.get(number, ()) for number in missing])
            try:
                # A worker answers with at least one frame, and not always with all.
                made = (await self.pool.run(image.place, job)).parts
            except DrimboxError as error:
                refusal = error
                break
            if not 0 < len(made) <= len(missing):
                raise RuntimeError("a pixel worker answered with another number of frames")
            new = dict(zip(missing, made, strict=False))
            found |= new
            del missing[: len(made)]
            await self._keep(image, new, target)
        frames = []
        for number in numbers:
            if number not in found:
                break
            frames.append(found[number])
        return _Batch(frames, refusal if len(frames) < len(numbers) else None)

    async def _once(self, key: tuple[object, ...], make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `make` gives, made once for all who ask while it is under way. Who gives up stops nobody else."""
        task: asyncio.Task[T] | None = self._under_way.get(key)
        if task is None:
            task = self.pool.own(make())
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return await asyncio.shield(task)

    async def _find(self, image: KeptImage, numbers: Sequence[int], target: Target) -> dict[int, bytes]:
        cache = self.cache
        if cache is None or target == NATIVE:
            return {}

        def find() -> dict[int, bytes]:
            found = ((number, cache.find(image.study_uid, _key(image, number, target))) for number in set(numbers))
            return {number: frame for number, frame in found if frame is not None}

        return await asyncio.to_thread(find)

    async def _keep(self, image: KeptImage, frames: Mapping[int, bytes], target: Target) -> None:
        cache = self.cache
        if cache is None or target == NATIVE:
            return

        def keep() -> None:
            for number, frame in frames.items():
                cache.keep(image.study_uid, _key(image, number, target), frame)

        await asyncio.to_thread(keep)

    # --- Pictures -------------------------------------------------------------------------------------------------

    async def picture(self, image: KeptImage, frame_numbers: Sequence[int], drawing: Drawing) -> bytes:
        """Draw these frames: one as any picture, several as a GIF that moves. Raises as `frames` does."""
        where = _by_frame(image.spans)
        spans = [where.get(number, ()) for number in frame_numbers]
        job = replace(_job(image, "picture", NATIVE, frame_numbers, spans), drawing=drawing)
        key = (image.digest, drawing, tuple(frame_numbers))
        answer: Answer = await self._once(key, lambda: self.pool.run(image.place, job))
        return answer.parts[0]

    # --- Whole instances ------------------------------------------------------------------------------------------

    async def instance(
        self, image: KeptImage, transfer_syntax: str = EXPLICIT_LITTLE_ENDIAN
    ) -> AsyncGenerator[bytes, None]:
        """Yield the whole instance as a Part 10 file in this syntax, in pieces of a few MiB at most.

        The preface is ours, each value is the one received but for those that tell what the pixels have become. What is
        raised: as for `frames`. An instance whose frames cannot be told apart is refused before the first piece.
        """
        async with aclosing(self.follow(await self.plan(image, transfer_syntax))) as pieces:
            async for piece in pieces:
                yield piece

    async def plan(self, image: KeptImage, transfer_syntax: str) -> "Plan":
        """What `instance` will give, for `follow`. Raises as `instance` does before its first piece."""
        target = target_of(image.transfer_syntax, transfer_syntax, lossy_allowed=self._lossy)
        answer, made = await self._once((image.digest, target, "instance"), lambda: self._outline(image, target))
        segments = read_outline(answer)
        where = _by_frame(image.spans)
        in_fragments = TRANSFER_SYNTAXES[image.transfer_syntax].encapsulated
        counts = [part.count for part in segments if isinstance(part, Frames)]
        if in_fragments and any(set(where) != set(range(1, count + 1)) for count in counts):
            raise NotAcceptable("instance", "its frames are not as many as it declares; ask for the stored syntax")
        return Plan(image, target, tuple(segments), made)

    async def follow(self, plan: "Plan") -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a plan, once."""
        copies = _Copies(plan.image)
        try:
            for segment in plan.segments:
                match segment:
                    case bytes():
                        yield segment
                    case Copy():
                        async with aclosing(copies.read(segment)) as pieces:
                            async for piece in pieces:
                                yield piece
                    case Frames(1, 0) if plan.made:
                        yield item(plan.made) + plan.made
                    case Frames(count, 0):
                        numbers, syntax = range(1, count + 1), plan.target.transfer_syntax
                        async with aclosing(self.frames(plan.image, numbers, syntax)) as frames:
                            async for frame in frames:
                                yield item(frame) + frame
                    case Frames(count, frame_bits):
                        joiner = BitJoiner()
                        async with aclosing(self.frames(plan.image, range(1, count + 1))) as frames:
                            async for frame in frames:
                                yield joiner.add(frame, frame_bits)
                        yield joiner.end()
        finally:
            copies.close()

    async def _outline(self, image: KeptImage, target: Target) -> tuple[Answer, bytes]:
        """How the instance is rewritten, and its frame where it has but one and is encoded."""
        if is_native(target):
            return await self.pool.run(image.place, _job(image, "instance", target)), b""
        first = (await self._find(image, [1], target)).get(1)
        spans = [_by_frame(image.spans).get(1, ())]
        sizes = None if first is None else [len(first)]
        answer = await self.pool.run(image.place, _job(image, "instance", target, [1], spans, sizes))
        if "needs_frames" in answer.facts:
            known = await self._sizes(image, int(answer.facts["needs_frames"]), target)
            return await self.pool.run(image.place, _job(image, "instance", target, [1], spans, known)), b""
        if first is None:
            first = answer.parts.pop()
            await self._keep(image, {1: first}, target)
        return answer, first

    async def _sizes(self, image: KeptImage, count: int, target: Target) -> list[int]:
        """Of all encoded frames, for an offset table, once they are in the cache; none where it cannot hold them."""
        sizes: list[int] = []
        if self.cache is None:
            return sizes
        async with aclosing(self.frames(image, range(1, count + 1), target.transfer_syntax)) as frames:
            async for frame in frames:
                sizes.append(len(frame))
                if sum(sizes) > self.cache.most_bytes // 2:
                    return []
        return sizes


@dataclass(frozen=True, slots=True)
class Plan:
    """How one instance is made in another syntax. made: its frame, where it has but one and is encoded."""

    image: KeptImage
    target: Target
    segments: tuple[Segment, ...]
    made: bytes

    @property
    def size_bytes(self) -> int:
        """Of the whole Part 10 file. Only of a native one: frames that are to be encoded have no size yet."""
        return sum(_size(segment) for segment in self.segments)


def _size(segment: Segment) -> int:
    match segment:
        case Copy():
            return segment.length
        case Frames():
            return (segment.count * segment.frame_bits + 7) // 8
        case _:
            return len(segment)


class _Copies:
    """The kept file, opened when a value is to be copied from it."""

    def __init__(self, image: KeptImage) -> None:
        self._place = image.place
        self._descriptor = -1
        self._source: Readable | None = None

    async def read(self, copy: Copy) -> AsyncGenerator[bytes, None]:
        for offset in range(copy.offset, copy.offset + copy.length, _COPY_BYTES):
            length = min(_COPY_BYTES, copy.offset + copy.length - offset)
            piece = await asyncio.to_thread(self._read, offset, length)
            if len(piece) != length:
                raise Corrupt("kept file", "it is shorter than it was")
            yield swapped(piece, copy.word_bytes)

    def _read(self, offset: int, length: int) -> bytes:
        if self._source is None:
            self._descriptor = open_kept(self._place)
            file = KeptFile(self._descriptor, self._place.offset, self._place.size_bytes)
            self._source = open_data_set(file, Limits()).source
        return self._source.read_at(offset, length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _job(
    image: KeptImage,
    kind: Kind,
    target: Target,
    frame_numbers: Sequence[int] = (),
    spans: Sequence[Sequence[Span]] = (),
    sizes: Sequence[int] | None = None,
) -> Job:
    return Job(
        kind=kind,
        target=target.transfer_syntax,
        lossy=target.lossy,
        transfer_syntax=image.transfer_syntax,
        offset=image.place.offset,
        size_bytes=image.place.size_bytes,
        digest=image.digest.hex(),
        frame_numbers=frame_numbers,
        spans=spans,
        sizes=sizes,
    )


def _key(image: KeptImage, number: int, target: Target) -> str:
    return f"{image.digest.hex()} {target.transfer_syntax} {target.lossy:d} {number}"


def _by_frame(spans: Sequence[Span]) -> Mapping[int, tuple[Span, ...]]:
    return {number: tuple(found) for number, found in groupby(spans, key=lambda span: span.frame_number)}
