"""The pool of throw-away worker processes that decode. Nothing is decoded in the node itself.

A worker holds the codecs, and nothing else of ours: it gets one job at a time over a socket, with the kept file already
open, and answers with bytes (`worker.py`, `confine.py`). Each job has a deadline, after which its worker is killed; a
worker that dies takes one job with it, never the node; after `jobs_per_worker` jobs it is replaced, so that what a
codec leaks stays small. The first starts with the first job, the others right after it.

What a frame becomes is told in `decode.py`, what an instance becomes in `transcode.py`. Decompressing makes no new
instance: the SOP Instance UID stays, and so do Lossy Image Compression, its ratio and its method, which tell the
history of the pixels and not their present form (PS3.3 §C.7.6.1.1.5).
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, TypeVar

from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import Limits
from drimbox.dicom.part10 import Readable
from drimbox.errors import Corrupt, DrimboxError, NotAcceptable, Unavailable
from drimbox.model import Place, Span
from drimbox.pixels.bits import BitJoiner
from drimbox.pixels.kept_file import KeptFile, KeptImage, open_kept
from drimbox.pixels.plan import DECODABLE
from drimbox.pixels.process import Died, WorkerProcess
from drimbox.pixels.protocol import Answer, Caps, Job, read_outline
from drimbox.pixels.transcode import Copy, Frames, swapped

T = TypeVar("T")

log = logging.getLogger(__name__)

_FRAMES_PER_JOB = 64
_START_S = 60
_COPY_BYTES = 2**20  # a multiple of every word


class Pixels:
    """Native pixels from kept files.

    workers: processes at most; 0 is one a core. queue, wait_s: how many jobs may wait for a worker, and how long;
    beyond, Unavailable. Belongs to the event loop that awaits `start`.
    """

    def __init__(
        self,
        workers: int = 0,
        *,
        caps: Caps | None = None,
        queue: int = 256,
        wait_s: float = 30,
        jobs_per_worker: int = 2000,
    ) -> None:
        self._size = workers or len(os.sched_getaffinity(0))
        self._caps = caps or Caps()
        self._queue = queue
        self._wait_s = wait_s
        self._jobs_per_worker = jobs_per_worker
        self._turns = asyncio.Semaphore(self._size)
        self._idle: list[WorkerProcess] = []
        self._alive = 0
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open = False

    async def start(self) -> None:
        """Accept jobs. Starts no process: the first job does."""
        self._open = True

    async def stop(self) -> None:
        """Refuse jobs, give up those under way, end the workers."""
        self._open = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            await self._idle.pop().end()
        self._alive = 0

    async def native_frames(self, image: KeptImage, frame_numbers: Sequence[int]) -> AsyncIterator[bytes]:
        """Yield these frames, in the order asked, as uncompressed little endian bytes (PS3.18 §8.7.3.3.2).

        frame_numbers count from 1; the same may be asked twice.
        Raises NotFound for a frame that is not there, NotAcceptable when it cannot be decoded (ask for the stored
        syntax), TooLarge, Corrupt when the file is not what was kept, Unavailable when the workers are too busy. A bad
        frame is found when its turn comes, after those before it were yielded.
        """
        where = _by_frame(image.spans)
        remaining = list(frame_numbers)
        while remaining:
            numbers = remaining[:_FRAMES_PER_JOB]
            job = _job(image, "frames", numbers, [where.get(number, ()) for number in numbers])
            # A worker answers with at least one frame, and not always with all.
            frames = (await self._run(image, job)).parts
            if not 0 < len(frames) <= len(numbers):
                raise RuntimeError("a pixel worker answered with another number of frames")
            del remaining[: len(frames)]
            for frame in frames:
                yield frame

    async def native_instance(self, image: KeptImage) -> AsyncIterator[bytes]:
        """Yield the whole instance as a Part 10 file in Explicit VR Little Endian, in pieces of a few MiB at most.

        The preface is ours, each value is the one received but for Photometric Interpretation, which tells what the
        pixels have become. What is raised: as for `native_frames`. An instance whose frames cannot be told apart is
        refused before the first piece.
        """
        segments = read_outline(await self._run(image, _job(image, "outline")))
        where = _by_frame(image.spans)
        if any(isinstance(part, Frames) and set(where) != set(range(1, part.count + 1)) for part in segments):
            raise NotAcceptable("instance", "its frames are not as many as it declares; ask for the stored syntax")
        descriptor = await asyncio.to_thread(open_kept, image.place)
        try:
            file = KeptFile(descriptor, image.place.offset, image.place.size_bytes)
            source = (await asyncio.to_thread(open_data_set, file, Limits())).source
            for segment in segments:
                match segment:
                    case bytes():
                        yield segment
                    case Copy():
                        async for piece in _read_copy(source, segment):
                            yield piece
                    case Frames(count, frame_bits):
                        joiner = BitJoiner()
                        async for frame in self.native_frames(image, range(1, count + 1)):
                            yield joiner.add(frame, frame_bits)
                        yield joiner.end()
        finally:
            os.close(descriptor)

    async def _run(self, image: KeptImage, job: Job) -> Answer:
        """Have a worker do `job`. A caller who gives up leaves it to end by itself, so that its worker lives on."""
        if job.transfer_syntax not in DECODABLE:
            raise NotAcceptable("transfer syntax", f"{job.transfer_syntax} is served as stored only")
        if not self._open:
            raise Unavailable("pixels", "the node is stopping")
        if self._waiting >= self._queue:
            raise Unavailable("pixels", f"{self._queue} jobs are waiting already")
        self._waiting += 1
        return await asyncio.shield(self._own(self._in_turn(image.place, job)))

    async def _in_turn(self, place: Place, job: Job) -> Answer:
        """Wait for a worker to be free, then have it work."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable("pixels", "all workers are busy") from None
        finally:
            self._waiting -= 1
        try:
            return await self._work(place, job)
        finally:
            self._turns.release()

    async def _work(self, place: Place, job: Job) -> Answer:
        worker = await self._take()
        reusable = False
        try:
            async with asyncio.timeout(self._caps.job_s):
                descriptor = await asyncio.to_thread(open_kept, place)
                try:
                    answer = await worker.ask(descriptor, job)
                finally:
                    os.close(descriptor)
            reusable = True
            return answer
        except DrimboxError as refusal:
            reusable = True
            log.info("pixels_refused", extra={"leaf": type(refusal).__name__, "detail": refusal.detail})
            raise
        except TimeoutError:
            log.warning("pixel_worker_too_slow", extra={"transfer_syntax": job.transfer_syntax})
            raise Unavailable("pixels", f"not decoded within {self._caps.job_s:g} s") from None
        except Died as death:
            log.warning("pixel_worker_died", extra={"signal": death.signal, "transfer_syntax": job.transfer_syntax})
            if death.signal == signal.SIGKILL:  # not by us: the machine lacks memory, or an operator did it
                raise Unavailable("pixels", "a decoder was killed") from None
            raise NotAcceptable("image", "its decoder failed on it; ask for the stored syntax") from None
        finally:
            if reusable and worker.jobs < self._jobs_per_worker:
                self._idle.append(worker)
            else:
                self._alive -= 1
                await worker.end()
            self._fill()

    async def _take(self) -> WorkerProcess:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive:
                return worker
            self._alive -= 1
            await worker.end()
        return await self._spawn()

    async def _spawn(self) -> WorkerProcess:
        try:
            worker = WorkerProcess.spawn(self._caps)
        except OSError as error:
            log.error("pixel_worker_does_not_start", extra={"errno": error.errno})
            raise Unavailable("pixels", "no decoder can be started") from error
        self._alive += 1
        try:
            async with asyncio.timeout(_START_S):
                await worker.ready()
        except BaseException as error:
            self._alive -= 1
            await worker.end()
            if isinstance(error, Died | TimeoutError):
                log.error("pixel_worker_does_not_start")
                raise Unavailable("pixels", "no decoder can be started") from None
            raise
        return worker

    def _fill(self) -> None:
        """Have the workers that are missing started beside the jobs."""
        if self._open:
            for _ in range(self._size - self._alive):
                self._own(self._add())

    async def _add(self) -> None:
        async with self._turns:
            if self._alive < self._size:
                with contextlib.suppress(Unavailable):  # logged; the next job will say so
                    self._idle.append(await self._spawn())

    def _own(self, story: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that `stop` ends. Its error is the business of who awaits it, if anyone still does."""
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _job(
    image: KeptImage,
    kind: Literal["frames", "outline"],
    frame_numbers: Sequence[int] = (),
    spans: Sequence[Sequence[Span]] = (),
) -> Job:
    place = image.place
    digest = image.digest.hex()
    return Job(kind, image.transfer_syntax, place.offset, place.size_bytes, digest, frame_numbers, spans)


def _by_frame(spans: Sequence[Span]) -> Mapping[int, tuple[Span, ...]]:
    return {number: tuple(found) for number, found in groupby(spans, key=lambda span: span.frame_number)}


async def _read_copy(source: Readable, copy: Copy) -> AsyncIterator[bytes]:
    for offset in range(copy.offset, copy.offset + copy.length, _COPY_BYTES):
        length = min(_COPY_BYTES, copy.offset + copy.length - offset)
        piece = await asyncio.to_thread(source.read_at, offset, length)
        if len(piece) != length:
            raise Corrupt("kept file", "it is shorter than it was")
        yield swapped(piece, copy.word_bytes)
