"""An instance as it is kept: where its bytes lie, opened by the node, read there or in a worker."""

import os
from dataclasses import dataclass

from drimbox.dicom.part10 import Readable
from drimbox.errors import NotFound, Unavailable
from drimbox.model import Place, Span


@dataclass(frozen=True, slots=True)
class KeptImage:
    """One instance to work on.

    study_uid: what was made of it goes with its study. transfer_syntax: the one it is kept in. spans: of the instance,
    or at least of the frames that will be asked, in order; offsets from its first byte. digest: SHA-256 of its data
    set: the same only for the same bytes.
    """

    place: Place
    study_uid: str
    transfer_syntax: str
    spans: tuple[Span, ...]
    digest: bytes


class KeptFile(Readable):
    """A `Readable` over the part of an open file that is the instance. Does not own the descriptor."""

    def __init__(self, descriptor: int, offset: int, size_bytes: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self.size = max(0, min(size_bytes, os.fstat(descriptor).st_size - offset))

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset`; fewer only where the end comes first."""
        return os.pread(self._descriptor, max(0, min(length, self.size - offset)), self._offset + offset)


def open_kept(place: Place) -> int:
    """Open its file for reading; the caller closes the descriptor. Raises NotFound, Unavailable."""
    try:
        return os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise NotFound("kept file", "it is gone") from None
    except OSError as error:
        raise Unavailable("kept file", "it cannot be opened now", detail=repr(error)) from error
