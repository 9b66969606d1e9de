"""Many callers wait for one sync: the legal way to be fast (reliability-security.md §1)."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Work = TypeVar("Work")
Result = TypeVar("Result")
Waiter = Future[Result] | asyncio.Future[Result]


class GroupCommit(Generic[Work, Result]):
    """One thread that makes work durable in groups: many callers wait for one sync, and none is answered before it.

    commit: takes the group, in order, and gives each work's result or the exception it deserves.
    """

    def __init__(
        self, name: str, commit: Callable[[Sequence[Work]], Sequence[Result | BaseException]], most: int = 256
    ) -> None:
        self._commit = commit
        self._most = most
        self._queue: queue.SimpleQueue[tuple[Work, Waiter[Result]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> "Future[Result]":
        """Queue `work`; the future is resolved after the group that holds it was committed."""
        future: Future[Result] = Future()
        self._queue.put((work, future))
        return future

    def begin(self, work: Work) -> "asyncio.Future[Result]":
        """As `submit`, on a loop: all of a group that wait on one loop are woken up at once."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put((work, future))
        return future

    async def wait(self, work: Work) -> Result:
        """Return once `work` is durable."""
        return await self.begin(work)

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group = [self._queue.get()]
            while len(group) < self._most and not self._queue.empty():
                group.append(self._queue.get())
            stopping = None in group
            if works := [item for item in group if item is not None]:
                self._settle(works)

    def _settle(self, group: Sequence[tuple[Work, Waiter[Result]]]) -> None:
        try:
            results: Sequence[Result | BaseException] = self._commit([work for work, _ in group])
        except BaseException as error:  # the thread must outlive any group; each caller gets the reason
            results = [error] * len(group)
        loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Result], Result | BaseException]]] = {}
        for (_, future), result in zip(group, results, strict=True):
            if isinstance(future, asyncio.Future):
                loops.setdefault(future.get_loop(), []).append((future, result))
            elif future.set_running_or_notify_cancel():  # else committed all the same: only nobody waits for it
                _resolve(future, result)
        for loop, waiting in loops.items():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(_wake, waiting)

    def close(self) -> None:
        """Finish what was submitted, then end the thread."""
        self._queue.put(None)
        self._thread.join()


def _wake(waiting: Sequence[tuple[asyncio.Future[Result], Result | BaseException]]) -> None:
    for future, result in waiting:
        if not future.done():  # cancelled
            _resolve(future, result)


def _resolve(future: Waiter[Result], result: Result | BaseException) -> None:
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
