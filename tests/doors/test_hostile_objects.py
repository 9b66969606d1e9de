"""Objects made to harm, sent by C-STORE to a real archive: reliability-security.md §3.2, row by row.

| weakness | where it is tested |
|---|---|
| path from a UID, CR LF in a UID | here; in URLs: test_dicomweb_search.py |
| huge PDU length, HTTP on the port | test_dicom_scp_protocol.py `closed_at_once`; _limits.py `reserves_nothing` |
| length lies | property/test_data_set_lies.py, fuzz/ |
| deep nesting | here |
| deflate bomb | here; memory: unit/test_dicom_scan.py |
| pixel bomb | here; decoding: rooms/test_pixels_workers.py, `declared_bomb` |
| fragment bomb, offset tables that lie | here; unit/test_dicom_scan.py, `given_to_their_frames` |
| character sets | here; property/test_dicom_hostile.py |
| preamble that is a program | here |
| AE title spoofing | unit/test_policy.py; test_dicom_scp_protocol.py, `rejected` |
| abuse of C-FIND and C-MOVE | test_dicom_scp_query.py, `more_than_can_be_given`; test_dicom_scp_move.py |
| overwriting by the same UID | test_dicom_scp_store.py, `set_aside` |
| association games | property/test_association_states.py; test_dicom_scp_protocol.py |
"""

import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import ct, data_set_bytes
from pydicom import Dataset

sys.path.append(str(Path(__file__).parent))
from dicom_query_stage import House, open_house
from raw_scu import CT, EXPLICIT, RawScu

ROOT = "1.2.826.0.1.3680043.8.498.6"
DEFLATED, JPEG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"
SUCCESS, CANNOT_UNDERSTAND, OUT_OF_RESOURCES, INVALID_SOP_INSTANCE = 0x0000, 0xC000, 0xA700, 0x0117
SECRET = "canary"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "outside").write_text(SECRET)
    with open_house(folder) as house:
        yield house


def send(house: House, content: bytes, sop_uid: str, syntax: str = EXPLICIT) -> int | None:
    """C-STORE it; then, on the same association, what is sound: the door must still take that."""
    with RawScu(house.stage.place, timeout_s=60) as scu:
        scu.associate([(CT, [syntax]), (CT, [EXPLICIT])])
        status = scu.store(sop_uid, content, maximum_length=131072).status
        sound = ct(1, 999, f"{ROOT}.999")
        assert scu.store(sound.SOPInstanceUID, data_set_bytes(sound), context_id=3).status == SUCCESS
        scu.release()
    return status


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    long = vr in ("OB", "OW", "SQ", "UN")
    return head + (b"\0\0" + struct.pack("<I", length) if long else struct.pack("<H", length)) + value


UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, END = b"\xfe\xff\0\xe0" + b"\xff" * 4, b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)


def names(number: int) -> bytes:
    uid = f"{ROOT}.1.1.{number}".encode()
    return element(0x00080016, "UI", CT.encode() + b"\0") + element(0x00080018, "UI", uid + b"\0" * (len(uid) % 2))


def study() -> bytes:
    parts = ((0x0020000D, f"{ROOT}.1".encode()), (0x0020000E, f"{ROOT}.1.1".encode()))
    return b"".join(element(tag, "UI", uid + b"\0" * (len(uid) % 2)) for tag, uid in parts)


def image(rows: bytes = b"\1\0", frames: bytes = b"1 ") -> bytes:
    return b"".join(
        (
            element(0x00280002, "US", b"\1\0"),
            element(0x00280004, "CS", b"MONOCHROME2 "),
            element(0x00280008, "IS", frames),
            element(0x00280010, "US", rows),
            element(0x00280011, "US", rows),
            element(0x00280100, "US", b"\x10\0"),
        )
    )


# --- Names ----------------------------------------------------------------------------------------------------------

ZOO = [
    "../../outside",
    "/etc/passwd",
    "..",
    "1.2\0.3",
    "1.2\r\nX: y",
    "1" * 65,
    "1." * 2000,
    "",
    "1.2.é",
    "1.2/3",
    "1.2 .3",
    "%2e%2e",
]


@pytest.mark.parametrize("uid", ZOO, ids=[repr(uid)[:20] for uid in ZOO])
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom says what it thinks of them
def test_no_name_comes_from_a_uid(house: House, keyword: str, uid: str, caplog: pytest.LogCaptureFixture) -> None:
    made = ct(1, 7, f"{ROOT}.2")
    plain = getattr(made, keyword).encode()
    plain += b"\0" * (len(plain) % 2)
    hostile = uid.encode() + b"\0" * (len(uid.encode()) % 2)
    content = data_set_bytes(made).replace(
        b"UI" + struct.pack("<H", len(plain)) + plain, b"UI" + struct.pack("<H", len(hostile)) + hostile
    )
    assert content != data_set_bytes(made)
    before = {path for path in house.trail.parent.rglob("*") if path.name != "index.db-wal"}
    assert send(house, content, made.SOPInstanceUID) == CANNOT_UNDERSTAND
    outside = {path for path in house.trail.parent.rglob("*") if "own" not in path.parts}
    assert outside <= before
    assert (house.trail.parent / "outside").read_text() == SECRET
    assert not any(uid and uid in str(vars(record)) for record in caplog.records if len(uid) > 3)


@pytest.mark.parametrize("uid", ["../../outside", "1.2\r\nX: y", "1" * 65, "..", "1..2" * 20])
def test_no_name_comes_from_a_command(house: House, uid: str) -> None:
    made = ct(1, 7, f"{ROOT}.2")
    assert send(house, data_set_bytes(made), uid) == INVALID_SOP_INSTANCE


# --- Bombs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "status"), [(63, SUCCESS), (65, OUT_OF_RESOURCES), (1000, OUT_OF_RESOURCES), (100_000, OUT_OF_RESOURCES)]
)
def test_sequences_nest_so_deep_and_no_deeper(house: House, depth: int, status: int) -> None:
    opening = element(0x00081140, "SQ", b"", UNDEFINED) + ITEM
    nested = opening * depth + (ITEM_END + END) * depth
    uid = 100 + depth
    assert send(house, names(uid) + nested + study(), f"{ROOT}.1.1.{uid}") == status


def test_a_deflate_bomb_is_refused(house: House) -> None:
    squeeze = zlib.compressobj(9, wbits=-15)
    bomb = squeeze.compress(names(1) + study() + element(0x7FE00010, "OB", b"", 2**30))
    megabyte = bytes(2**20)
    bomb += b"".join(squeeze.compress(megabyte) for _ in range(1024)) + squeeze.flush()
    assert len(bomb) < 2 * 2**20
    assert send(house, bomb, f"{ROOT}.1.1.1", DEFLATED) == OUT_OF_RESOURCES


def test_a_fragment_bomb_is_refused(house: House) -> None:
    items = (b"\xfe\xff\0\xe0" + bytes(4)) * 1_000_000
    bomb = names(2) + study() + image() + element(0x7FE00010, "OB", items, UNDEFINED) + END
    assert send(house, bomb, f"{ROOT}.1.1.2", JPEG) == OUT_OF_RESOURCES


@pytest.mark.parametrize(
    ("number", "described"),
    [
        (3, image(b"\xff\xff", b"2147483647")),
        (4, image(b"\xff\xff", b"2147483648")),
        (5, image(b"\xff\xff", b"-1")),
        (6, image(b"\0\0")),
        (7, image(frames=b"1e9 ")),
    ],
)
def test_pixels_that_are_not_there_are_kept_as_they_came(house: House, number: int, described: bytes) -> None:
    """An archive keeps what it is given; who draws must look first."""
    content = names(number) + study() + described + element(0x7FE00010, "OW", bytes(100))
    assert send(house, content, f"{ROOT}.1.1.{number}") == SUCCESS
    assert house.kept(f"{ROOT}.1")[f"{ROOT}.1.1.{number}"] == content


# --- Text, and what stands before it --------------------------------------------------------------------------------

CHARSETS = [
    "", "ISO_IR 6", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 144", "ISO_IR 127", "ISO_IR 126",
    "ISO_IR 138", "ISO_IR 148", "ISO_IR 203", "ISO_IR 13", "ISO_IR 166", "ISO_IR 192", "GB18030", "GBK",
    "ISO 2022 IR 6\\ISO 2022 IR 87", "ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", "\\ISO 2022 IR 149",
    "ISO 2022 IR 58", "ISO_IR 9999", "latin-1", "\x1b$B", "\\\\\\\\",
]  # fmt: skip
NAME = b"\xc4\xd6\x1b$B;3ED\x1b(B^\xe9\xff\x80=\x1b$)C\xb1\xe8\xc8\xf1=\xc3\x28\x1b"


@pytest.mark.parametrize("charset", CHARSETS, ids=[repr(name) for name in CHARSETS])
def test_a_name_in_any_character_set_is_no_reason_to_refuse(house: House, charset: str) -> None:
    number = 200 + CHARSETS.index(charset)
    declared = charset.encode() + b" " * (len(charset) % 2)
    name = NAME + b" " * (len(NAME) % 2)
    first = element(0x00080005, "CS", declared)
    content = first + names(number) + element(0x00100010, "PN", name) + study()
    assert send(house, content, f"{ROOT}.1.1.{number}") == SUCCESS
    assert house.kept(f"{ROOT}.1")[f"{ROOT}.1.1.{number}"] == content


def test_what_is_kept_begins_with_zeros(house: House) -> None:
    """A C-STORE brings no preamble: the file we make has ours, which is no program (CVE-2019-11687)."""
    made = ct(1, 1, f"{ROOT}.3")
    assert send(house, data_set_bytes(made), made.SOPInstanceUID) == SUCCESS
    (held,) = house.stage.call(house.archive.held(f"{ROOT}.3"))
    head = house.stage.call(house.archive.read(held, 0, 132))
    assert head == bytes(128) + b"DICM"


def test_a_document_with_a_script_is_kept_as_it_came(house: House) -> None:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, f"{ROOT}.4.1.1"
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{ROOT}.4", f"{ROOT}.4.1"
    made.PatientName = "<script>alert(1)</script>^=CMD()"
    made.StudyDescription = "'; DROP TABLE study; --"
    content = data_set_bytes(made)
    assert send(house, content, made.SOPInstanceUID) == SUCCESS
    assert house.kept(f"{ROOT}.4") == {made.SOPInstanceUID: content}
    found = house.stage.call(house.archive.study(f"{ROOT}.4"))
    assert found["00081030"]["Value"] == ["'; DROP TABLE study; --"]
