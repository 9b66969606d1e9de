"""Reading what the kernel holds in memory already, without the way to a thread.

A thread costs several times what the copy costs, and the pages of a study that is being read are nearly always there:
asked with RWF_NOWAIT, the kernel copies them or says at once that it would have to wait for the disk.
"""

import contextlib
import os
from typing import Final

from drimbox.storage.files import OpenFile

MOST_BYTES: Final = 2**22
"""The most that is copied on an event loop: half a millisecond."""

_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux only


def read_near(source: OpenFile, offset: int, view: memoryview) -> bool:
    """Fill `view` from `offset` of `source` if that needs no disk; say whether it was filled.

    False also for what is short, or on a file system that cannot tell: whoever reads it in a thread then sees.
    """
    if not _NO_WAIT or len(view) > MOST_BYTES or offset + len(view) > source.size:
        return False
    try:
        return os.preadv(source.file, [view], source.start + offset, _NO_WAIT) == len(view)
    except OSError:
        return False


def expect(source: OpenFile) -> None:
    """Have the kernel begin to read `source`: it will be asked for soon. May wait for the disk's queue."""
    with contextlib.suppress(OSError):
        os.posix_fadvise(source.file, source.start, source.size, os.POSIX_FADV_WILLNEED)
