"""The preface of a file: written byte for byte as PS3.10 §7.1 says, read as files in service have it."""

import io
import struct
import zlib

import pydicom
import pytest

from drimbox.dicom.part10 import InMemory, Preface, build_preface, read_preface
from drimbox.errors import DrimboxError, Malformed, TooLarge

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
FIRST_EXPLICIT = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
FIRST_IMPLICIT = b"\x08\x00\x05\x00\x0a\x00\x00\x00ISO_IR 100"
FIRST_BIG_ENDIAN = b"\x00\x08\x00\x05CS\x00\x0aISO_IR 100"


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_preface_is_as_the_standard_draws_it() -> None:
    preface = build_preface(CT, "1.2.3", EXPLICIT)
    assert preface[:132] == bytes(128) + b"DICM"
    assert preface[132:144] == b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(preface) - 144)
    assert preface[144:158] == b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
    assert element(2, b"UI", CT.encode() + b"\x00") in preface
    assert element(3, b"UI", b"1.2.3\x00") in preface
    assert len(preface) % 2 == 0


def test_pydicom_reads_our_preface() -> None:
    meta = pydicom.dcmread(io.BytesIO(build_preface(CT, "1.2.3", EXPLICIT) + FIRST_EXPLICIT)).file_meta
    assert meta.FileMetaInformationGroupLength + 144 == len(build_preface(CT, "1.2.3", EXPLICIT))
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert (meta.TransferSyntaxUID, meta.ImplementationVersionName) == (EXPLICIT, "DRIMBOX")


def test_we_read_our_preface() -> None:
    preface = build_preface(CT, "1.2.3", EXPLICIT)
    assert read_preface(InMemory(preface + FIRST_EXPLICIT)) == Preface(CT, "1.2.3", EXPLICIT, len(preface))


@pytest.mark.parametrize("place", range(3))
def test_no_preface_is_built_with_a_uid_that_is_none(place: int) -> None:
    uids = [CT, "1.2.3", EXPLICIT]
    uids[place] = "../1"
    with pytest.raises(Malformed):
        build_preface(*uids)


SYNTAX = element(0x10, b"UI", b"1.2.840.10008.1.2.1\x00")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (bytes(128) + b"DICM" + SYNTAX, EXPLICIT),  # no group length
        (b"MZ" + bytes(126) + b"DICM" + element(0, b"UL", b"\xff\xff\xff\xff") + SYNTAX, EXPLICIT),  # a wrong one
        (bytes(128) + b"DICM" + element(0, b"UL", b"\x00\x00\x00\x00") + SYNTAX, EXPLICIT),  # another wrong one
        (SYNTAX, EXPLICIT),  # no preamble
        (bytes(128) + b"DICM\x02\x00\x10\x00\x12\x00\x00\x001.2.840.10008.1.2 ", "1.2.840.10008.1.2"),  # implicit VR
        (bytes(128) + b"DICM" + element(0x10, b"UI", b"1.2.840.10008.1.2.1 "), EXPLICIT),  # padded with a space
    ],
)
def test_preface_in_service_is_understood(head: bytes, expected: str) -> None:
    assert read_preface(InMemory(head + FIRST_EXPLICIT)) == Preface("", "", expected, len(head))


@pytest.mark.parametrize(
    ("data_set", "expected"),
    [
        (FIRST_EXPLICIT, EXPLICIT),
        (FIRST_IMPLICIT, "1.2.840.10008.1.2"),
        (FIRST_BIG_ENDIAN, "1.2.840.10008.1.2.2"),
    ],
)
@pytest.mark.parametrize("head", [b"", bytes(128) + b"DICM", bytes(128) + b"DICM" + element(2, b"UI", b"1.2\x00")])
def test_transfer_syntax_that_is_not_said_is_told_from_the_data_set(
    head: bytes, data_set: bytes, expected: str
) -> None:
    found = read_preface(InMemory(head + data_set))
    assert (found.transfer_syntax, found.data_set_offset) == (expected, len(head))


def test_deflated_bytes_that_look_like_group_2_are_not_eaten() -> None:
    syntax = element(0x10, b"UI", b"1.2.840.10008.1.2.1.99")
    head = bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(syntax))) + syntax
    squeezed = zlib.compressobj(wbits=-15)
    body = b"\x02\x00" + squeezed.compress(b"x" * 64) + squeezed.flush()
    assert read_preface(InMemory(head + body)).data_set_offset == len(head)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"DICM",
        b"GET / HTTP/1.1\r\n\r\n" * 20,
        b"%PDF-1.7\n" + bytes(300),
        bytes(200),
        bytes(128) + b"DICM" + SYNTAX[:10],  # cut in an element header
        bytes(128) + b"DICM" + SYNTAX[:-1],  # cut in a value
        bytes(128) + b"DICM" + element(0x10, b"UI", b"1.2\r\nX: y "),
        bytes(128) + b"DICM" + element(0x03, b"UI", b"../../etc/passwd") + SYNTAX,
    ],
)
def test_what_is_no_file_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        read_preface(InMemory(content))


def test_endless_preface_is_too_large() -> None:
    private = struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 2**31)
    with pytest.raises(TooLarge):
        read_preface(InMemory(bytes(128) + b"DICM" + private + bytes(2**18)))


def test_every_cut_of_a_file_is_read_or_refused() -> None:
    content = build_preface(CT, "1.2.3", EXPLICIT) + FIRST_EXPLICIT
    for end in range(len(content)):
        try:
            assert read_preface(InMemory(content[:end])).data_set_offset <= end
        except DrimboxError:
            continue
