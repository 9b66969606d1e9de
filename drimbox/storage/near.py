"""Reading what the kernel holds in memory already, without the way to a thread.

A thread costs several times what the copy costs, and the pages of a study that is being read are nearly always there:
asked with RWF_NOWAIT, the kernel copies them or says at once that it would have to wait for the disk.
"""

import os
from typing import Final

from drimbox.model import Place

MOST_BYTES: Final = 2**22
"""The most that is copied on an event loop: half a millisecond."""

_NO_WAIT: Final[int] = getattr(os, "RWF_NOWAIT", 0)  # Linux only


def read_near(place: Place, offset: int, view: memoryview) -> bool:
    """Fill `view` from `offset` of the object at `place` if that needs no disk; say whether it was filled.

    False also for what is gone, short, or on a file system that cannot tell: whoever reads it in a thread then sees.
    """
    if not _NO_WAIT or len(view) > MOST_BYTES or offset + len(view) > place.size_bytes:
        return False
    try:
        file = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.preadv(file, [view], place.offset + offset, _NO_WAIT) == len(view)
    except OSError:
        return False
    finally:
        os.close(file)


def expect(place: Place) -> None:
    """Have the kernel begin to read the object at `place`: it will be asked for soon. May wait for the disk's queue."""
    try:
        file = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        os.posix_fadvise(file, place.offset, place.size_bytes, os.POSIX_FADV_WILLNEED)
    except OSError:
        return
    finally:
        os.close(file)
