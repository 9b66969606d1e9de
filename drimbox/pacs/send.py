"""C-STORE as SCU: instances go byte for byte as they lie in their files, on one association (PS3.4 annex B)."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from drimbox.dicom.command import C_STORE_RQ, Command
from drimbox.dicom.part10 import Readable
from drimbox.dicom.scan import identify
from drimbox.errors import Corrupt, DrimboxError, NotAcceptable
from drimbox.model import Place
from drimbox.pacs.association import MOST_CONTEXTS, Association, associated
from drimbox.settings import Destination

NOT_ACCEPTED: Final = 0x0122
"""The status of an instance whose SOP class or transfer syntax the other end does not take (PS3.7 annex C)."""

_BLOCK_BYTES: Final = 2**20
_ANSWER_S: Final = 120.0
_SLOWEST_BYTES_S: Final = 2**17
_BATCH: Final = 2000  # files whose names are known ahead, and one association

Kind = tuple[str, str]
"""SOP class and transfer syntax: a presentation context."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An instance to send. place: of the whole Part 10 object, or bare data set; data_set_offset: from its start.

    content: gives its data set where that is not in the file, in pieces, on a thread; transfer_syntax is then its own.
    """

    sop_class_uid: str
    sop_uid: str
    transfer_syntax: str
    place: Place
    data_set_offset: int
    content: Callable[[], Iterator[bytes]] | None = None

    @property
    def kind(self) -> Kind:
        """The presentation context it needs."""
        return self.sop_class_uid, self.transfer_syntax


@dataclass(frozen=True, slots=True)
class Send:
    """Sends one instance; the status of its C-STORE. Raises Unavailable when the association is gone.

    accepted: what the other end takes.
    """

    accepted: Collection[Kind]
    store: Callable[[Outgoing], Awaitable[int]]

    async def __call__(self, outgoing: Outgoing) -> int:
        return await self.store(outgoing)


@asynccontextmanager
async def storing(
    place: Destination, calling: str, kinds: Iterable[Kind], originator: tuple[str, int] | None = None
) -> AsyncIterator[Send]:
    """An association to `place`, and what sends on it. Raises Unavailable.

    kinds: of what will be sent; those past 128 are not accepted. originator: of the C-MOVE this is for.
    """
    contexts = [(sop_class_uid, (syntax,)) for sop_class_uid, syntax in dict.fromkeys(kinds)]
    async with associated(place, calling, contexts) as association:
        number = 0

        async def send(outgoing: Outgoing) -> int:
            nonlocal number
            context_id = association.contexts.get(outgoing.kind)
            if context_id is None:
                return NOT_ACCEPTED
            number = number % 0xFFFF + 1
            command = Command(
                C_STORE_RQ, number, outgoing.sop_class_uid, outgoing.sop_uid,
                has_data_set=True, priority=0, originator=originator,
            )  # fmt: skip
            allowed_s = _ANSWER_S + outgoing.place.size_bytes / _SLOWEST_BYTES_S
            return await association.call(lambda: _store(association, context_id, command, outgoing), allowed_s)

        yield Send(association.contexts.keys(), send)


def _store(association: Association, context_id: int, command: Command, outgoing: Outgoing) -> int:
    with _opened(outgoing.place.path) as file:
        pieces = _pieces(file, outgoing) if outgoing.content is None else outgoing.content()
        try:
            return association.exchange(context_id, command, pieces)
        except DrimboxError:
            association.cut()  # in the middle of a data set that cannot be finished
            raise


def _pieces(file: int, outgoing: Outgoing) -> Iterator[bytes]:
    end = outgoing.place.offset + outgoing.place.size_bytes
    for start in range(outgoing.place.offset + outgoing.data_set_offset, end, _BLOCK_BYTES):
        length = min(_BLOCK_BYTES, end - start)
        piece = os.pread(file, length, start)
        if len(piece) != length:
            raise Corrupt("file", "it became shorter while it was sent")
        yield piece


# --- Files ------------------------------------------------------------------------------------------------------------


async def send_files(
    files: Iterable[Path], place: Destination, calling: str, told: Callable[[Path, int | DrimboxError], None]
) -> None:
    """Tell of each file the status of its C-STORE, or why it was not sent; one that fails does not hold up the others.

    Raises Unavailable, after which no other file is tried. Memory: the names of two thousand files.
    """
    left = iter(files)
    while batch := list(islice(left, _BATCH)):
        named: list[tuple[Path, Outgoing]] = []
        for path in batch:
            try:
                named.append((path, identified(path)))
            except DrimboxError as refusal:
                told(path, refusal)
        while named:
            kinds = set(list(dict.fromkeys(outgoing.kind for _, outgoing in named))[:MOST_CONTEXTS])
            async with storing(place, calling, kinds) as send:
                for path, outgoing in named:
                    if outgoing.kind in kinds:
                        told(path, await _sent(send, outgoing))
            named = [(path, outgoing) for path, outgoing in named if outgoing.kind not in kinds]


def identified(path: Path) -> Outgoing:
    """The instance in a file. Raises Malformed, TooLarge, Corrupt."""
    with _opened(path) as file:
        source = _File(file, os.fstat(file).st_size)
        preface = identify(source)
        return Outgoing(
            preface.sop_class_uid,
            preface.sop_uid,
            preface.transfer_syntax,
            Place(path, 0, source.size),
            preface.data_set_offset,
        )


async def _sent(send: Send, outgoing: Outgoing) -> int | DrimboxError:
    try:
        status = await send(outgoing)
    except Corrupt as refusal:
        return refusal
    if status == NOT_ACCEPTED:
        return NotAcceptable("C-STORE", "the other end refuses the class or the syntax of this file")
    return status


class _File(Readable):
    """An open file as a `Readable`."""

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Corrupt("file", f"cannot be opened (errno {error.errno})", detail=str(path)) from error
    try:
        yield file
    except OSError as error:
        raise Corrupt("file", f"cannot be read (errno {error.errno})", detail=str(path)) from error
    finally:
        os.close(file)
