"""The pool of throw-away worker processes. Nothing is decoded, encoded or drawn in the node itself.

A worker holds the codecs, and nothing else of ours: it gets one job at a time over a socket, with the kept file already
open, and answers with bytes (`worker.py`, `confine.py`). Each job has a deadline, after which its worker is killed; a
worker that dies takes one job with it, never the node; after `jobs_per_worker` jobs it is replaced, so that what a
codec leaks stays small. The first starts with the first job, the others right after it.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from drimbox.errors import DrimboxError, NotAcceptable, Unavailable
from drimbox.model import Place
from drimbox.pixels.kept_file import open_kept
from drimbox.pixels.process import Died, WorkerProcess
from drimbox.pixels.protocol import Answer, Caps, Job
from drimbox.pixels.syntaxes import DECODABLE

T = TypeVar("T")

log = logging.getLogger(__name__)

_START_S = 60


class Pool:
    """Workers, and a queue before them.

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
        self.size = workers or len(os.sched_getaffinity(0))
        self._caps = caps or Caps()
        self._queue = queue
        self._wait_s = wait_s
        self._jobs_per_worker = jobs_per_worker
        self._turns = asyncio.Semaphore(self.size)
        self._idle: list[WorkerProcess] = []
        self._alive = 0
        self._waiting = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open = False
        self.home: asyncio.AbstractEventLoop | None = None  # the loop that started it: `run` is for that one

    async def start(self) -> None:
        """Accept jobs. Starts no process: the first job does."""
        self.home = asyncio.get_running_loop()
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

    async def run(self, place: Place, job: Job) -> Answer:
        """Have a worker do `job`. A caller who gives up leaves it to end by itself, so that its worker lives on.

        Raises what the worker refuses with, NotAcceptable when it died of it, Unavailable when all are too busy.
        """
        if job.transfer_syntax not in DECODABLE and job.sign is None:
            raise NotAcceptable("transfer syntax", f"{job.transfer_syntax} is served as stored only")
        if not self._open:
            raise Unavailable("pixels", "the node is stopping")
        if self._waiting >= self._queue:
            raise Unavailable("pixels", f"{self._queue} jobs are waiting already")
        self._waiting += 1
        return await asyncio.shield(self.own(self._in_turn(place, job)))

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
                descriptor = open_kept(place)  # here: a thread costs the node a third of what it spends on a frame
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
            raise Unavailable("pixels", f"not done within {self._caps.job_s:g} s") from None
        except Died as death:
            log.warning("pixel_worker_died", extra={"signal": death.signal, "transfer_syntax": job.transfer_syntax})
            if death.signal == signal.SIGKILL:  # not by us: the machine lacks memory, or an operator did it
                raise Unavailable("pixels", "a worker was killed") from None
            raise NotAcceptable("image", "a codec failed on it; ask for the stored syntax") from None
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
            raise Unavailable("pixels", "no worker can be started") from error
        self._alive += 1
        try:
            async with asyncio.timeout(_START_S):
                await worker.ready()
        except BaseException as error:
            self._alive -= 1
            await worker.end()
            if isinstance(error, Died | TimeoutError):
                log.error("pixel_worker_does_not_start")
                raise Unavailable("pixels", "no worker can be started") from None
            raise
        return worker

    def _fill(self) -> None:
        """Have the workers that are missing started beside the jobs."""
        if self._open:
            for _ in range(self.size - self._alive):
                self.own(self._add())

    async def _add(self) -> None:
        async with self._turns:
            if self._alive < self.size:
                with contextlib.suppress(Unavailable):  # logged; the next job will say so
                    self._idle.append(await self._spawn())

    def own(self, story: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that `stop` ends. Its error is the business of who awaits it, if anyone still does."""
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._disown)
        return task

    def _disown(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
