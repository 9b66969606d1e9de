"""The DICOM JSON model of data sets built by hand, and the way back from a bulk data path to bytes."""

import struct
import zlib

import pytest

from drimbox.dicom.data_set import open_data_set
from drimbox.dicom.elements import Limits
from drimbox.dicom.json_model import find_bulkdata, read_metadata
from drimbox.dicom.part10 import InMemory, build_preface
from drimbox.errors import Malformed, NotAcceptable, NotFound, TooLarge

EXPLICIT, DEFLATED, J2K, IMPLICIT = (f"1.2.840.10008.1.2{suffix}" for suffix in (".1", ".1.99", ".4.90", ""))
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HI", 0, length) if vr in LONG else struct.pack("<H", length)) + value


def item(*elements: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(b"".join(elements))) + b"".join(elements)


def file(data_set: bytes, syntax: str = EXPLICIT) -> InMemory:
    return InMemory(build_preface("1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax) + data_set)


def test_each_vr_has_its_form() -> None:
    data_set = b"".join(
        (
            element(0x00080000, "UL", b"\x10\0\0\0"),
            element(0x00080005, "CS", b"ISO_IR 100"),
            element(0x00080008, "CS", b"ORIGINAL\\\\AXIAL "),
            element(0x00080018, "UI", b"1.2.3\0"),
            element(0x00080050, "SH", b""),
            element(0x00081030, "LO", "Tête\\ cou ".encode("latin-1")),
            element(0x00100010, "PN", b"Doe^Jane=="),
            element(0x00104000, "LT", b"a\\b  "),
            element(0x00181310, "US", struct.pack("<2H", 0, 256)),
            element(0x00189461, "FL", struct.pack("<3f", 1.5, float("nan"), float("-inf"))),
            element(0x00200013, "IS", b" 12\\1.5 "),
            element(0x00209165, "AT", b"\x20\0\x57\x90"),
            element(0x00281050, "DS", b"40\\-1e3\\"),
            element(0x00291010, "OB", b"\0\1\2"),
            element(0x00291011, "UV", struct.pack("<2Q", 2**53, 2**53 + 1)),
            element(0x00400275, "SQ", b""),
            element(0x00400555, "SQ", item() + item(element(0x00080104, "LO", b"\xe9t\xe9 "))),
            element(0xFFFCFFFC, "OB", bytes(10)),
        )
    )
    assert read_metadata(file(data_set), "bulk") == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00080018": {"vr": "UI", "Value": ["1.2.3"]},
        "00080050": {"vr": "SH"},
        "00081030": {"vr": "LO", "Value": ["Tête", " cou"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "00104000": {"vr": "LT", "Value": ["a\\b"]},
        "00181310": {"vr": "US", "Value": [0, 256]},
        "00189461": {"vr": "FL", "Value": [1.5, "NaN", "-inf"]},
        "00200013": {"vr": "IS", "Value": [12, "1.5"]},
        "00209165": {"vr": "AT", "Value": ["00209057"]},
        "00281050": {"vr": "DS", "Value": [40, -1000, None]},
        "00291010": {"vr": "OB", "InlineBinary": "AAEC"},
        "00291011": {"vr": "UV", "Value": [2**53, str(2**53 + 1)]},
        "00400275": {"vr": "SQ"},
        "00400555": {"vr": "SQ", "Value": [{}, {"00080104": {"vr": "LO", "Value": ["été"]}}]},
    }


def test_an_item_may_declare_its_own_character_set() -> None:
    greek = element(0x00080005, "CS", b"ISO_IR 126") + element(0x00080104, "LO", "ΑΒ".encode("iso8859_7"))
    data_set = element(0x00080005, "CS", b"ISO_IR 144") + element(
        0x00400555, "SQ", item(greek) + item(element(0x00080104, "LO", "Яд".encode("iso8859_5")))
    )
    items = read_metadata(file(data_set), "")["00400555"]["Value"]
    assert [found["00080104"]["Value"] for found in items] == [["ΑΒ"], ["Яд"]]


@pytest.mark.parametrize(
    ("signed", "expected"), [(1, {"vr": "SS", "Value": [-1]}), (0, {"vr": "US", "Value": [65535]})]
)
def test_us_or_ss_follows_pixel_representation(signed: int, expected: object) -> None:
    data_set = struct.pack("<HHIH", 0x28, 0x103, 2, signed) + struct.pack("<HHIH", 0x28, 0x106, 2, 0xFFFF)
    assert read_metadata(file(data_set, IMPLICIT), "")["00280106"] == expected


def test_big_endian_words_become_little_endian() -> None:
    data_set = struct.pack(">HH2sHI", 0x28, 0x1201, b"OW", 0, 4) + b"\1\2\3\4"
    found = read_metadata(file(data_set, "1.2.840.10008.1.2.2"), "")
    assert found == {"00281201": {"vr": "OW", "InlineBinary": "AgEEAw=="}}  # 02 01 04 03


DEEP = element(
    0x00400555,
    "SQ",
    item(element(0x00281201, "OW", b"x" * 2000))
    + item(
        element(0x00281201, "OW", b"y" * 1024) + element(0x00400555, "SQ", item(element(0x00281202, "OW", b"z" * 1026)))
    ),
)
PIXELS = element(0x7FE00010, "OB", b"ab")


def test_large_values_are_referred_to_at_any_depth() -> None:
    found = read_metadata(file(element(0x00281201, "OW", b"w" * 1030) + DEEP + PIXELS), "/bulk")
    first, second = found["00400555"]["Value"]
    assert found["00281201"] == {"vr": "OW", "BulkDataURI": "/bulk/00281201"}
    assert first["00281201"] == {"vr": "OW", "BulkDataURI": "/bulk/00400555/0/00281201"}
    assert second["00281201"]["InlineBinary"].startswith("eXl5")
    inner = second["00400555"]["Value"][0]["00281202"]
    assert inner == {"vr": "OW", "BulkDataURI": "/bulk/00400555/1/00400555/0/00281202"}
    assert found["7FE00010"] == {"vr": "OB", "BulkDataURI": "/bulk/7FE00010"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("00281201", b"w" * 1030),
        ("00400555/0/00281201", b"x" * 2000),
        ("00400555/1/00281201", b"y" * 1024),
        ("00400555/1/00400555/0/00281202", b"z" * 1026),
        ("7FE00010", b"ab"),
    ],
)
@pytest.mark.parametrize("deflated", [False, True])
def test_a_path_leads_to_the_bytes(path: str, expected: bytes, deflated: bool) -> None:
    content = element(0x00281201, "OW", b"w" * 1030) + DEEP + PIXELS
    if deflated:
        squeeze = zlib.compressobj(wbits=-15)
        content = squeeze.compress(content) + squeeze.flush()
    kept = file(content, DEFLATED if deflated else EXPLICIT)
    source = open_data_set(kept, Limits()).source
    assert source.read_at(*find_bulkdata(kept, path)) == expected


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", Malformed),
        ("7fe00010", Malformed),
        ("00400555/0", Malformed),
        ("00400555/00/00281201", Malformed),
        ("00400555/-1/00281201", Malformed),
        ("../7FE00010", Malformed),
        ("00400555/0/" * 1000 + "00281201", Malformed),
        ("00400555", NotFound),
        ("00400555/2/00281201", NotFound),
        ("00400555/0/00281202", NotFound),
        ("00400555/0/00400555/0/00281202", NotFound),
        ("00281202", NotFound),
        ("00281201/0/00281202", NotFound),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_bulkdata(file(element(0x00281201, "OW", b"w" * 1030) + DEEP + PIXELS), path)


def test_one_fragment_is_bulk_data_and_several_are_frames() -> None:
    opening = element(0x7FE00010, "OB", b"", UNDEFINED) + item()
    one, two = file(opening + item(b"ab") + END, J2K), file(opening + item(b"ab") + item(b"cd") + END, J2K)
    assert read_metadata(two, "")["7FE00010"] == {"vr": "OB", "BulkDataURI": "/7FE00010"}
    assert one.read_at(*find_bulkdata(one, "7FE00010")) == b"ab"
    with pytest.raises(NotAcceptable):
        find_bulkdata(two, "7FE00010")


def test_pixel_data_are_not_read() -> None:
    class Counting(InMemory):
        read = 0

        def read_at(self, offset: int, length: int) -> bytes:
            part = super().read_at(offset, length)
            self.read += len(part)
            return part

    frames = b"".join(item(bytes(100_000)) for _ in range(100))
    opening = element(0x00080018, "UI", b"1.2.3\0") + element(0x7FE00010, "OB", b"", UNDEFINED) + item()
    source = Counting(file(opening + frames + END + element(0xFFFCFFFC, "OB", b"ab"), J2K).read_at(0, 2**24))
    assert list(read_metadata(source, "")) == ["00080018", "7FE00010"]
    assert source.read < 1_000_000 < source.size


def test_what_is_inline_is_bounded_in_all() -> None:
    row = element(0x00291010, "UT", b"x" * 60_000)
    found = read_metadata(file(element(0x00400555, "SQ", item(row) * 1200)), "/b")["00400555"]["Value"]
    inline = [one for one in found if "Value" in one["00291010"]]
    assert len(inline) == 2**26 // 60_000
    assert found[-1]["00291010"] == {"vr": "UT", "BulkDataURI": "/b/00400555/1199/00291010"}


def test_a_header_that_is_cut_is_malformed_and_a_long_one_too_large() -> None:
    with pytest.raises(Malformed):
        read_metadata(file(element(0x00080018, "UI", b"1.2.3", 8)), "")
    with pytest.raises(TooLarge):
        read_metadata(file(element(0x00080018, "UI", b"") * 20), "", Limits(max_elements=10))


def test_numbers_written_as_text_can_stay_as_they_are_written() -> None:
    data_set = element(0x00200013, "IS", b"+012 ") + element(0x00281050, "DS", b"40.00\\-1e3 ")
    found = read_metadata(file(data_set), "bulk", as_written=True)
    assert found["00200013"] == {"vr": "IS", "Value": ["+012"]}
    assert found["00281050"] == {"vr": "DS", "Value": ["40.00", "-1e3"]}
