"""Whatever the bytes, reading ends with an answer or a leaf of the error tree."""

import struct
import zlib

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from drimbox.dicom.charset import decode_text, read_charset
from drimbox.dicom.elements import Limits
from drimbox.dicom.json_model import find_bulkdata, read_metadata
from drimbox.dicom.part10 import LONG_FORM, SHORT_FORM, InMemory, build_preface, read_preface
from drimbox.dicom.scan import scan
from drimbox.dicom.values import to_json
from drimbox.errors import DrimboxError

LIMITS = Limits(max_elements=2000, max_fragments=200, max_inflated_bytes=2**20)
SYNTAXES = [f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2", ".1.99", ".4.90", ".4.50", ".4.102", ".5")]
ITEM, ITEM_END, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
OPEN = b"\xff\xff\xff\xff"


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"SQ", b"UN"):
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


NAMES = b"".join(
    (
        element(0x00080005, b"CS", b"ISO 2022 IR 6\\ISO 2022 IR 87"),
        element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        element(0x00080018, b"UI", b"1.2.3\0"),
        element(0x00100010, b"PN", b"Doe^Jane=\x1b$B;3ED\x1b(B"),
        element(0x0020000D, b"UI", b"1.2\0"),
        element(0x0020000E, b"UI", b"1.2.2\0"),
        element(0x00200013, b"IS", b"12"),
        element(0x00280008, b"IS", b"2 "),
        element(0x00280010, b"US", b"\1\0"),
        element(0x00280011, b"US", b"\2\0"),
        element(0x00280100, b"US", b"\x08\0"),
    )
)
SEQUENCE = struct.pack("<HH2sH", 0x40, 0x275, b"SQ", 0) + OPEN + ITEM + OPEN + NAMES[:40] + ITEM_END + END
NATIVE = NAMES + SEQUENCE + element(0x7FE00010, b"OB", b"abcd")
FRAGMENTS = b"".join(ITEM + struct.pack("<I", len(value)) + value for value in (bytes(8), b"\xff\xd8\xff\xe0", b"ab"))
ENCAPSULATED = NAMES + SEQUENCE + struct.pack("<HH2sH", 0x7FE0, 0x10, b"OB", 0) + OPEN + FRAGMENTS + END


def read_all(content: bytes) -> None:
    """Every reader; each may refuse, none may fail."""
    source = InMemory(content)
    for read in (
        lambda: read_preface(source),
        lambda: [source.read_at(span.offset, span.length) for span in scan(source, LIMITS).spans],
        lambda: read_metadata(source, "", LIMITS),
        lambda: find_bulkdata(source, "00400275/0/00100010", LIMITS),
        lambda: find_bulkdata(source, "7FE00010", LIMITS),
    ):
        try:
            read()
        except DrimboxError:
            continue


@st.composite
def mutated(draw: st.DrawFn, data_set: bytes) -> bytes:
    """A data set with bytes changed, put in, taken out, or cut, here and there."""
    content = bytearray(data_set)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        match draw(st.integers(0, 4)):
            case 0:
                content[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                content[at : at + 4] = draw(st.sampled_from([OPEN, bytes(4), b"\xfe\xff\xff\xff", b"\x00\x00\x00\x80"]))
            case 2:
                content[at:at] = draw(st.sampled_from([ITEM, ITEM_END, END, OPEN, SEQUENCE, b"SQ", b"\x1b$B", b"UN"]))
            case 3:
                del content[at : at + draw(st.integers(1, 20))]
            case 4:
                del content[at:]
    return bytes(content)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([NATIVE, ENCAPSULATED]).flatmap(mutated), st.sampled_from(SYNTAXES))
def test_mutated_data_sets_are_read_or_refused(data_set: bytes, syntax: str) -> None:
    if syntax.endswith(".1.99"):
        squeeze = zlib.compressobj(wbits=-15)
        data_set = squeeze.compress(data_set) + squeeze.flush()
    read_all(build_preface("1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax) + data_set)


@settings(max_examples=150, deadline=None)
@given(mutated(build_preface("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1") + NATIVE))
def test_mutated_files_are_read_or_refused(content: bytes) -> None:
    read_all(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
@example(b"", SYNTAXES[1])
@example(END * 30, SYNTAXES[1])
@example(ITEM_END * 30, SYNTAXES[0])
@example((b"\x08\0\x05\0" + OPEN) * 40, SYNTAXES[0])
def test_noise_is_refused(noise: bytes, syntax: str) -> None:
    read_all(build_preface("1.2.3", "1.2.3", syntax) + noise)


def test_every_cut_of_a_file_is_read_or_refused() -> None:
    for data_set, syntax in ((NATIVE, SYNTAXES[1]), (ENCAPSULATED, SYNTAXES[5])):
        content = build_preface("1.2.3", "1.2.3", syntax) + data_set
        for end in range(len(content)):
            read_all(content[:end])


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=80))
def test_any_bytes_are_some_text(declared: bytes, stored: bytes) -> None:
    assert isinstance(decode_text(stored, read_charset(declared)), str)


SETS = [b"", b"ISO_IR 192", b"GB18030", b"ISO_IR 13", b"ISO 2022 IR 13\\ISO 2022 IR 87", b"\\ISO 2022 IR 149"]
ESCAPES = [b"\x1b", b"\x1b$B", b"\x1b(J", b"\x1b)I", b"\x1b$)C", b"\x1b$(D", b"\x1b-A", b"\x1b%G", b"=", b"^", b"\\"]


@settings(deadline=None)
@given(st.sampled_from(SETS), st.lists(st.one_of(st.binary(max_size=4), st.sampled_from(ESCAPES)), max_size=12))
def test_any_escape_sequence_gives_a_name(declared: bytes, parts: list[bytes]) -> None:
    found = to_json("PN", b"".join(parts), read_charset(declared), True)
    for name in found.get("Value", []):
        assert name is None or set(name) <= {"Alphabetic", "Ideographic", "Phonetic"}


@settings(deadline=None)
@given(st.sampled_from(sorted(LONG_FORM | SHORT_FORM)), st.binary(max_size=64), st.booleans())
def test_any_value_of_any_vr_has_a_json_form(written: bytes, value: bytes, little_endian: bool) -> None:
    vr = written.decode()
    found = to_json(vr, value, (), little_endian)
    assert found["vr"] == vr
    assert found.keys() <= {"vr", "Value", "InlineBinary"}
