"""An instance for whoever takes it by C-STORE in another transfer syntax than it is kept in (PS3.5 §10.1).

Nothing is lost: the values are the ones received, pixels are decoded at most. So every receiver that takes the default
transfer syntax of DICOM gets what we can decode, whatever way it came in.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TypeVar

from drimbox.dicom.part10 import build_preface
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.flows.retrieve import MOST_AT_ONCE_BYTES, Offer, Retrieve
from drimbox.pixels.kept_file import KeptImage

T = TypeVar("T")

NATIVE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
"""What an instance is converted to, the nearest first."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A data set on its way out. chunks: gives `size_bytes`, once."""

    size_bytes: int
    chunks: AsyncGenerator[bytes, None]


@dataclass(frozen=True)
class Convert:
    """What one archive holds, in the transfer syntax the other end takes: for C-GET and C-MOVE, once they selected."""

    retrieve: Retrieve

    def possible(self, offer: Offer) -> tuple[str, ...]:
        """The transfer syntaxes it can leave in, the one it is kept in first."""
        stored = offer.held.transfer_syntax
        if EXPLICIT_LITTLE_ENDIAN not in offer.possible or self.retrieve.pixels.pool.home is None:
            return (stored,)
        return (stored, *(syntax for syntax in NATIVE if syntax != stored))

    def choose(self, offer: Offer, accepted: Collection[str]) -> str:
        """The one of `accepted` it leaves in; empty for none."""
        return next((syntax for syntax in self.possible(offer) if syntax in accepted), "")

    async def data_set(self, offer: Offer, transfer_syntax: str) -> Converted:
        """Its data set in this syntax. Raises Malformed, NotAcceptable, TooLarge, Corrupt, Unavailable.

        One that has to be decoded is whole before its first byte leaves, if it is not large: half of it cannot be
        taken back when a frame turns out to be damaged.
        """
        held, retrieve = offer.held, self.retrieve
        if transfer_syntax == held.transfer_syntax:
            return Converted(held.size_bytes - held.data_set_offset, retrieve.read_data_set(offer))
        image = KeptImage(
            retrieve.archive.place(held),
            held.study_uid,
            held.transfer_syntax,
            await retrieve.archive.spans(held),
            held.digest,
        )
        plan = await self._at_home(lambda: retrieve.pixels.plan(image, transfer_syntax))
        preface_bytes = len(build_preface(held.sop_class_uid, held.sop_uid, transfer_syntax))
        size_bytes = plan.size_bytes - preface_bytes
        chunks = self._without(preface_bytes, retrieve.pixels.follow(plan))
        if TRANSFER_SYNTAXES[held.transfer_syntax].encapsulated and size_bytes <= MOST_AT_ONCE_BYTES:
            content = b"".join([chunk async for chunk in chunks])
            return Converted(len(content), _once(content))
        return Converted(size_bytes, chunks)

    async def _without(self, skipped: int, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """What comes after the preface. The workers belong to the loop of the node; this one may be a receiver's."""
        try:
            while (piece := await self._at_home(lambda: anext(pieces, None))) is not None:
                left, skipped = piece[skipped:], max(0, skipped - len(piece))
                if left:
                    yield left
        finally:
            await self._at_home(pieces.aclose)

    async def _at_home(self, work: Callable[[], Awaitable[T]]) -> T:
        """Begin and await `work` on the loop that the workers belong to."""
        home = self.retrieve.pixels.pool.home
        if home is None or home is asyncio.get_running_loop():
            return await work()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work), home))


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _once(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content


def drawn(converted: Converted, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
    """The chunks, for a thread that blocks; `loop`: where they come from."""

    def wait(work: Callable[[], Awaitable[T]]) -> T:
        return asyncio.run_coroutine_threadsafe(_awaited(work), loop).result()

    try:
        while (chunk := wait(lambda: anext(converted.chunks, None))) is not None:
            yield chunk
    finally:
        wait(converted.chunks.aclose)
