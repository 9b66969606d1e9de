"""One kept instance read again, from the medium: is it still what was received (promise P4)?"""

import os
from typing import Final

from drimbox.dicom.checksum import Digest
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.errors import Corrupt, DrimboxError
from drimbox.model import Place
from drimbox.storage.index import Held

_BLOCK_BYTES: Final = 2**20


def read_again(place: Place, held: Held) -> None:
    """Return when every byte of it was read and is right. Raises Corrupt."""
    try:
        file = os.open(place.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            # What the page cache remembers is no proof of what the medium still holds.
            os.posix_fadvise(file, place.offset, place.size_bytes, os.POSIX_FADV_DONTNEED)
            _compare(file, place, held)
        finally:
            os.close(file)
    except OSError as error:
        raise Corrupt("instance", f"cannot be read (errno {error.errno})", detail=held.file) from error


def _compare(file: int, place: Place, held: Held) -> None:
    head = os.pread(file, held.data_set_offset, place.offset)
    try:
        preface = read_preface(InMemory(head))
    except DrimboxError as error:
        raise Corrupt("instance", "its preface cannot be read", detail=held.file) from error
    told = (preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax, preface.data_set_offset)
    if told != (held.sop_class_uid, held.ref.sop_uid, held.transfer_syntax, held.data_set_offset):
        raise Corrupt("instance", "its preface is not the one it was kept with", detail=held.file)
    digest = Digest()
    end = place.offset + place.size_bytes
    for start in range(place.offset + held.data_set_offset, end, _BLOCK_BYTES):
        digest.update(os.pread(file, min(_BLOCK_BYTES, end - start), start))
    if digest.digest() != held.digest:
        raise Corrupt("instance", "its data set is not the one that was received", detail=held.file)
