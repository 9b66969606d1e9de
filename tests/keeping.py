"""Kept files for tests of what reads them: a preface of ours, then a data set, and what the scan says of it.

And `pidfd`, for tests of the processes that do.
"""

import hashlib
import os
import select
from pathlib import Path

import pydicom
from making import ct
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from drimbox.dicom.part10 import InMemory, build_preface, read_preface
from drimbox.dicom.scan import scan
from drimbox.model import Place
from drimbox.pixels.kept_file import KeptImage


def keep(folder: Path, content: bytes, name: str = "kept.dcm", before: bytes = b"", after: bytes = b"") -> KeptImage:
    """Keep a Part 10 file as the archive does. before, after: what else is in the same file."""
    received = read_preface(InMemory(content))
    names = scan(InMemory(content))
    kept = build_preface(names.sop_class_uid, names.ref.sop_uid, received.transfer_syntax)
    kept += content[received.data_set_offset :]
    path = folder / name
    path.write_bytes(before + kept + after)
    digest = hashlib.sha256(content[received.data_set_offset :]).digest()
    place = Place(path, len(before), len(kept))
    return KeptImage(place, names.ref.study_uid, received.transfer_syntax, scan(InMemory(kept)).spans, digest)


def compressed(transfer_syntax: str, frames: list[bytes], **attributes: object) -> bytes:
    """A CT slice of tests whose frames are these streams, as a Part 10 file."""
    made = ct(**attributes, NumberOfFrames=len(frames), PixelData=encapsulate(frames))
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return _file(made, transfer_syntax, implicit=False, little_endian=True)


def native(transfer_syntax: str, pixels: bytes, vr: str = "OW", **attributes: object) -> bytes:
    """A CT slice of tests with these bytes as Pixel Data, as a Part 10 file."""
    made = ct(**attributes, PixelData=pixels)
    made["PixelData"].VR = vr
    return _file(
        made,
        transfer_syntax,
        implicit=transfer_syntax == "1.2.840.10008.1.2",
        little_endian=transfer_syntax != "1.2.840.10008.1.2.2",
    )


def _file(made: pydicom.Dataset, transfer_syntax: str, *, implicit: bool, little_endian: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = little_endian, implicit
    del made.file_meta
    write_dataset(buffer, made)
    return build_preface(made.SOPClassUID, made.SOPInstanceUID, transfer_syntax) + buffer.getvalue()


class pidfd:
    """Waits for a process that need not be our child."""

    def __init__(self, pid):
        self._descriptor = os.pidfd_open(pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._descriptor)

    def wait(self):
        return bool(select.select([self._descriptor], [], [], 60)[0])
