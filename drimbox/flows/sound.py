"""Which instances were read whole and found good: a part of one can be given without reading the rest each time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from drimbox.storage.index import Held

_MOST: Final = 4096
_SMALL_BYTES: Final = 2**24


class Sound:
    """Those of this process, the last few thousand. What is kept under a digest never changes; disks do, slowly."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def check(self, held: Held, verify: Callable[[Held], Awaitable[None]]) -> None:
        """Return once it was read whole, now or before. Raises what `verify` does."""
        if held.digest in self._known:
            return
        if held.size_bytes <= _SMALL_BYTES:
            await self._verify(held, verify)
            return
        async with self._one_at_a_time:
            if held.digest not in self._known:  # those who waited find it known
                await self._verify(held, verify)

    async def _verify(self, held: Held, verify: Callable[[Held], Awaitable[None]]) -> None:
        await verify(held)
        self._known[held.digest] = None
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
