"""How a kept instance is rewritten in little endian, VRs written or not. Pure; nearly all of it is "copy these bytes".

Every value is the one received, damaged ones included: only the headers around the values, the byte order, the pixels
and what tells of them change. So text, numbers and private values are never decoded, and an odd value cannot refuse an
instance. Left out: group lengths, which would be wrong (PS3.5 §7.2); offset tables, for the fragments are others;
padding after the data set; the icon of an encapsulated instance, for its pixels may be compressed too (PS3.3 §F.7).
"""

import struct
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from drimbox.dicom.data_set import DataSet, open_data_set
from drimbox.dicom.dictionary import US_OR_SS
from drimbox.dicom.elements import ITEM, ITEM_END, PIXEL_DATA, SEQUENCE_END, UNDEFINED, Limits
from drimbox.dicom.part10 import Readable, build_preface
from drimbox.dicom.uid import IMPLICIT_LITTLE_ENDIAN
from drimbox.errors import NotAcceptable, TooLarge
from drimbox.pixels.derive import TOLD, Derived, derive_lossy
from drimbox.pixels.description import (
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    DescriptionReader,
    PixelDescription,
    checked_description,
    native_photometric,
)
from drimbox.pixels.plan import NATIVE, Target, is_native, settled, target_photometric, target_planar

_LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT_FORM = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT"}
    | {"PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"}
)
_WORD_BYTES: Final = {
    **dict.fromkeys(("AT", "OW", "SS", "US"), 2),
    **dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4),
    **dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8),
}
_ICON: Final = 0x00880200
_OFFSET_TABLES: Final = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})
_TRAILING_PADDING: Final = 0xFFFCFFFC
_TELLING: Final = frozenset({PHOTOMETRIC_INTERPRETATION, PLANAR_CONFIGURATION})
_DELIMITER = struct.Struct("<HHI")
_TEXT = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT"])
_ARRAY_TYPE: Final = {2: "H", 4: "I", 8: "Q"}
_COPY_FROM_BYTES = 4096  # below, a value travels with the headers


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes of the kept file to send as they are, but for the order inside words of `word_bytes`."""

    offset: int
    length: int
    word_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Frames:
    """All frames of the instance: native and back to back, `frame_bits` each, or each in a fragment where that is 0."""

    count: int
    frame_bits: int


Segment = bytes | Copy | Frames


def rewrite(file: Readable, most_frame_bytes: int, target: Target = NATIVE, sizes: Sequence[int] = ()) -> list[Segment]:
    """Tell what the instance becomes, in order. Raises Malformed, NotAcceptable, TooLarge.

    sizes: of the encoded frames, where they are known: then an offset table tells where each begins.
    """
    data_set = open_data_set(file, Limits())
    derived = None
    if target.lossy:
        description, told = _read_ahead(open_data_set(file, Limits()))
        target = settled(target, description)
    if target.lossy:
        ratio = description.frame_bytes * description.number_of_frames / sum(sizes) if sizes else None
        preface = data_set.preface
        derived = derive_lossy(preface.sop_class_uid, preface.sop_uid, told, target.transfer_syntax, ratio)
    return _Rewriter(data_set, most_frame_bytes, target, sizes, derived).segments()


def _read_ahead(data_set: DataSet) -> tuple[PixelDescription, Mapping[int, str]]:
    """The description, and the values `derive_lossy` wants, in a pass of their own: they change what comes before."""
    description = DescriptionReader()
    told: dict[int, str] = {}
    for level, tag, _, offset, length in data_set.reader:
        if level == 0 and tag in TOLD and length != UNDEFINED:
            told[tag] = data_set.source.read_at(offset, length).decode("latin-1").strip(" \x00")
        if level == 0 and not description.note(data_set.reader, tag, offset, length) and tag > max(TOLD):
            break
    return description.result(), told


def pixel_word_bytes(vr: str, bits_allocated: int) -> int:
    """The words that native pixels of big endian are swapped by.

    A pixel wider than 16 bits is swapped whole, though OW has words of 16: every known writer does so.
    """
    return max(2, bits_allocated // 8) if vr == "OW" else _WORD_BYTES.get(vr, 1)


class _Rewriter:
    def __init__(
        self,
        data_set: DataSet,
        most_frame_bytes: int,
        target: Target,
        sizes: Sequence[int],
        derived: Derived | None,
    ) -> None:
        preface = data_set.preface
        self._target = target
        self._sizes = sizes
        self._edits = sorted(derived.edits.items(), reverse=True) if derived else []  # the next one last
        self._reader = data_set.reader
        self._order: Literal["little", "big"] = "little" if data_set.syntax.little_endian else "big"
        self._syntax = data_set.syntax
        self._size = data_set.source.size
        self._most_frame_bytes = most_frame_bytes
        self._description = DescriptionReader()
        self._segments: list[Segment] = []
        sop_uid = derived.sop_uid if derived else preface.sop_uid
        self._bytes = bytearray(build_preface(preface.sop_class_uid, sop_uid, target.transfer_syntax))
        self._explicit = target.transfer_syntax != IMPLICIT_LITTLE_ENDIAN
        self._may_stay = self._explicit and data_set.syntax.explicit and data_set.syntax.little_endian
        self._run_start = self._run_end = 0
        self._open: list[bool] = []  # one for each sequence that is open: is an item of it open?

    def segments(self) -> list[Segment]:
        skipped_level = -1
        for level, tag, vr, offset, length in self._reader:
            if 0 <= skipped_level < level:
                continue
            skipped_level = -1
            self._close(level)
            if tag == ITEM:
                self._next_item()
                continue
            if tag & 0xFFFF == 0 or tag in _OFFSET_TABLES or tag == _TRAILING_PADDING:
                continue
            if level == 0:
                self._description.note(self._reader, tag, offset, length)
                if self._is_replaced(tag):
                    skipped_level = level
                    continue
            if vr == "SQ":
                if tag == _ICON and self._syntax.encapsulated:
                    skipped_level = level
                    continue
                self._header(tag, "SQ", UNDEFINED)
                self._open.append(False)
            elif tag == PIXEL_DATA and level == 0:
                self._pixel_data(vr, offset, length)
            elif length == UNDEFINED:
                raise NotAcceptable("instance", "it has compressed pixels in a sequence; ask for the stored syntax")
            elif not (self._may_stay and self._stays(tag, vr, offset, length)):
                self._element(tag, vr, offset, length)
        self._close(0)
        self._flush()
        return self._segments

    def _stays(self, tag: int, vr: str, offset: int, length: int) -> bool:
        """Is the element written already as we would? Then its bytes join those before it, to be copied at once."""
        if length % 2 or length >= _COPY_FROM_BYTES or (tag in _TELLING and not self._open):
            return False
        start = offset - (12 if vr in _LONG_FORM else 8)
        if self._reader.value(start, 6) != struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr[:2].encode("ascii")):
            return False
        if start != self._run_end:
            self._end_run()
            self._run_start = start
        self._run_end = offset + length
        return True

    def _end_run(self) -> None:
        if self._run_end:
            self._bytes += self._reader.value(self._run_start, self._run_end - self._run_start)
            self._run_start = self._run_end = 0

    def _is_replaced(self, tag: int) -> bool:
        """Write the edits that come before `tag`, and that of `tag` itself if there is one."""
        if self._edits:
            self._end_run()
        while self._edits and self._edits[-1][0] < tag:
            self._bytes += self._edits.pop()[1]
        if self._edits and self._edits[-1][0] == tag:
            self._bytes += self._edits.pop()[1]
            return True
        return False

    def _element(self, tag: int, vr: str, offset: int, length: int) -> None:
        if vr == US_OR_SS:
            vr = "SS" if self._description.is_signed else "US"
        if tag == PHOTOMETRIC_INTERPRETATION and not self._open and length != 0:
            stored = self._reader.value(offset, length).decode("latin-1").strip(" \x00")
            changed = target_photometric(native_photometric(stored, self._syntax.uid), self._target)
            if changed != stored:
                value = changed.encode("latin-1")
                self._header(tag, vr, len(value) + len(value) % 2)
                self._bytes += value + b" " * (len(value) % 2)
                return
        if tag == PLANAR_CONFIGURATION and not self._open and length == 2:
            stored_planar = int.from_bytes(self._reader.value(offset, 2), self._order)
            self._header(tag, "US", 2)
            self._bytes += target_planar(stored_planar, self._target).to_bytes(2, "little")
            return
        word_bytes = 1 if self._reader.little_endian else _WORD_BYTES.get(vr, 1)
        if vr not in _LONG_FORM and (length > 0xFFFE or vr not in _SHORT_FORM):
            vr = "UN"  # its length does not fit in 16 bits, or it is no VR (PS3.5 §6.2.2)
        self._value(tag, vr, Copy(offset, length, word_bytes))

    def _pixel_data(self, vr: str, offset: int, length: int) -> None:
        description = self._description.result()
        if self._syntax.encapsulated != (length == UNDEFINED):
            raise NotAcceptable("instance", "its pixels are not encoded as its transfer syntax says")
        if not is_native(self._target):
            self._fragments(checked_description(description, self._most_frame_bytes))
            return
        if not self._syntax.encapsulated:
            if offset + length > self._size:
                raise NotAcceptable("instance", "its pixels are cut; ask for the stored syntax")
            words = 1 if self._reader.little_endian else pixel_word_bytes(vr, description.bits_allocated)
            self._value(PIXEL_DATA, vr, Copy(offset, length, words))
            return
        d = checked_description(description, self._most_frame_bytes)
        size = (d.frame_bits * d.number_of_frames + 7) // 8
        if size > UNDEFINED - 2:
            raise TooLarge("instance", f"{size} bytes of native pixels, which no data set can hold; ask for frames")
        self._header(PIXEL_DATA, "OB" if d.bits_allocated <= 8 else "OW", size + size % 2)
        self._flush()
        self._segments.append(Frames(d.number_of_frames, d.frame_bits))
        self._bytes += bytes(size % 2)

    def _fragments(self, d: PixelDescription) -> None:
        """A frame, a fragment (PS3.5 §A.4). The table is the extended one where 32 bits do not reach."""
        starts = [0]
        for size in self._sizes:
            starts.append(starts[-1] + _DELIMITER.size + size)
        table = b""
        if self._sizes and starts[-2] > UNDEFINED:
            for tag, values in ((0x7FE00001, starts[:-1]), (0x7FE00002, self._sizes)):
                self._header(tag, "OV", 8 * len(self._sizes))
                self._bytes += struct.pack(f"<{len(self._sizes)}Q", *values)
        elif self._sizes:
            table = struct.pack(f"<{len(self._sizes)}I", *starts[:-1])
        self._header(PIXEL_DATA, "OB", UNDEFINED)
        self._delimiter(ITEM, len(table))
        self._bytes += table
        self._flush()
        self._segments.append(Frames(d.number_of_frames, 0))
        self._delimiter(SEQUENCE_END)

    def _value(self, tag: int, vr: str, value: Copy) -> None:
        """An element with the bytes of the file. An odd length gets the byte it lacks (PS3.5 §7.1.1)."""
        self._header(tag, vr, value.length + value.length % 2)
        if value.length < _COPY_FROM_BYTES:
            self._bytes += swapped(self._reader.value(value.offset, value.length), value.word_bytes)
        else:
            self._flush()
            self._segments.append(value)
        if value.length % 2:
            self._bytes += b" " if vr in _TEXT else b"\x00"

    def _header(self, tag: int, vr: str, length: int) -> None:
        self._end_run()
        if not self._explicit:
            self._bytes += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
        elif vr in _LONG_FORM:
            self._bytes += struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), 0, length)
        else:
            self._bytes += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), length)

    def _next_item(self) -> None:
        if self._open[-1]:
            self._delimiter(ITEM_END)
        self._delimiter(ITEM, UNDEFINED)
        self._open[-1] = True

    def _close(self, level: int) -> None:
        """Close the sequences that are not around an element of `level`."""
        while len(self._open) > level:
            if self._open.pop():
                self._delimiter(ITEM_END)
            self._delimiter(SEQUENCE_END)

    def _delimiter(self, tag: int, length: int = 0) -> None:
        self._end_run()
        self._bytes += _DELIMITER.pack(tag >> 16, tag & 0xFFFF, length)

    def _flush(self) -> None:
        self._end_run()
        if self._bytes:
            self._segments.append(bytes(self._bytes))
            self._bytes.clear()


def item(fragment: bytes) -> bytes:
    """What comes before a fragment."""
    return _DELIMITER.pack(ITEM >> 16, ITEM & 0xFFFF, len(fragment))


def swapped(value: bytes, word_bytes: int) -> bytes:
    """Turn each word round; a last word that is cut stays as it is."""
    if word_bytes == 1:
        return value
    whole = len(value) - len(value) % word_bytes
    words = array(_ARRAY_TYPE[word_bytes], value[:whole])
    words.byteswap()
    return words.tobytes() + value[whole:]
