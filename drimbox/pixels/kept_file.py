"""A kept file, opened once by the node, read there or in a worker."""

import os
from pathlib import Path

from drimbox.errors import NotFound, Unavailable


class KeptFile:
    """A `Readable` over a descriptor it does not own. identity: the same only for the same bytes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        self.size = status.st_size
        self.identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def read_at(self, offset: int, length: int) -> bytes:
        """The `length` bytes from `offset`; fewer only where the end comes first."""
        return os.pread(self._descriptor, length, offset)


def open_kept(path: Path) -> int:
    """Open it for reading; the caller closes the descriptor. Raises NotFound, Unavailable."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise NotFound("kept file", "it is gone") from None
    except OSError as error:
        raise Unavailable("kept file", "it cannot be opened now", detail=repr(error)) from error
