"""Begin what takes long before its turn comes, so that a series is made on every core and still leaves in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

Chunks = AsyncGenerator[bytes | bytearray, None]
Maker = Callable[[], Chunks]


async def in_order(makers: Sequence[Maker], depth: int) -> AsyncGenerator[Chunks, None]:
    """Yield what each maker gives, in order; of the next `depth`, the first chunk is asked for meanwhile.

    Each must be drawn to its end, or closed, before the next. Whatever was begun is closed in the end.
    """
    if depth == 0:
        for maker in makers:
            yield maker()
        return
    begun: deque[asyncio.Task[tuple[bytes | bytearray | None, Chunks]]] = deque()
    left = deque(makers)
    try:
        while left or begun:
            while left and len(begun) <= depth:
                begun.append(asyncio.create_task(_begin(left.popleft())))
            yield _continued(begun[0])
            await _close(begun.popleft())  # it may not have been drawn at all
    finally:
        for task in begun:
            task.cancel()
        for task in begun:
            await _close(task)


async def _close(task: "asyncio.Task[tuple[bytes | bytearray | None, Chunks]]") -> None:
    task.cancel()
    (done,) = await asyncio.gather(task, return_exceptions=True)
    if not isinstance(done, BaseException):
        await done[1].aclose()


async def _begin(maker: Maker) -> tuple[bytes | bytearray | None, Chunks]:
    chunks = maker()
    try:
        return await anext(chunks, None), chunks
    except BaseException:
        await chunks.aclose()
        raise


async def _continued(task: asyncio.Task[tuple[bytes | bytearray | None, Chunks]]) -> Chunks:
    first, chunks = await task
    async with aclosing(chunks):
        if first is not None:
            yield first
        async for chunk in chunks:
            yield chunk
