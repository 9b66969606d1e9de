"""Character sets: the examples of PS3.5 annexes H, I, J and K, and what is met in service."""

import pytest

from drimbox.dicom.charset import decode_text, read_charset
from drimbox.dicom.frames import frame_bits
from drimbox.dicom.values import to_json
from drimbox.errors import Malformed

ANNEXES = [
    # PS3.5 §H.3.1
    (
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 §H.3.2
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    # PS3.5 §I.2
    (
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    # PS3.5 §J.3
    (b"ISO_IR 192", "Wang^XiaoDong=王^小东=".encode(), "Wang^XiaoDong=王^小东="),
    (b"GB18030", "Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
    # PS3.5 §K.2
    (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", "Zhang^XiaoDong=张^小东="),
]
SERVICE = [
    (b"ISO_IR 100", "Lefèvre^Zoé".encode("latin-1"), "Lefèvre^Zoé"),
    (b"ISO_IR 203", b"\xbcuvrard", "Œuvrard"),
    (b"ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    (b"ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    (b"ISO_IR 127", "قباني".encode("iso8859_6"), "قباني"),
    (b"ISO_IR 138", "שרון".encode("iso8859_8"), "שרון"),
    (b"ISO_IR 166", "นาม".encode("iso8859_11"), "นาม"),
    (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"Jo\x1b-A\xe3o", "João"),
    (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"\xe9=\x1b-L\xbb\xee\xda^\xe9", "é=Люк^é"),  # a delimiter ends it
    (b"ISO-IR 100", b"\xe9t\xe9", "été"),
    (b"iso_ir_100", b"\xe9t\xe9", "été"),
    (b"UTF-8", "été".encode(), "été"),
    (b"", b"plain", "plain"),
    (b"", b"\xe9t\xe9", "été"),  # undeclared Latin letters
    (b"", "été".encode(), "été"),  # undeclared UTF-8
    (b"NO SUCH SET", b"\xe9t\xe9", "été"),
    (b"ISO_IR 192", b"\xff\xfeabc", "\ufffd\ufffdabc"),
    (b"ISO 2022 IR 87", b"\x1b$B\xff\xff", "\ufffd\ufffd"),
]


@pytest.mark.parametrize(("declared", "stored", "expected"), ANNEXES + SERVICE)
def test_text_is_decoded(declared: bytes, stored: bytes, expected: str) -> None:
    assert decode_text(stored, read_charset(declared)) == expected


def test_the_three_groups_of_a_name_are_kept_apart() -> None:
    declared, stored, _ = ANNEXES[0]
    assert to_json("PN", stored + b" ", read_charset(declared), True)["Value"] == [
        {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}
    ]
    assert to_json("PN", b"=\xe5", (), True)["Value"] == [{"Ideographic": "å"}]
    assert to_json("PN", b"A^B\\==\\C", (), True)["Value"] == [{"Alphabetic": "A^B"}, None, {"Alphabetic": "C"}]


def test_a_backslash_inside_a_character_does_not_split_a_value() -> None:
    stored = "表示".encode("gb18030") + b"\\" + "俓".encode("gb18030")
    assert b"\\" in "俓".encode("gb18030")
    assert to_json("LO", stored, read_charset(b"GB18030"), True)["Value"] == ["表示", "俓"]


@pytest.mark.parametrize(
    ("frame_number", "expected"),
    [(1, 0b1_0101_0101), (2, 0b0_1111_0000), (3, 0b1_1111_1111)],
)
def test_packed_frames_are_cut_at_any_bit(frame_number: int, expected: int) -> None:
    packed = (0b1_0101_0101 | 0b0_1111_0000 << 9 | 0b1_1111_1111 << 18).to_bytes(4, "little")
    assert frame_bits(packed, frame_number, 9) == expected.to_bytes(2, "little")


@pytest.mark.parametrize("frame_number", [-1, 0, 4])
def test_a_packed_frame_that_is_not_there_is_refused(frame_number: int) -> None:
    with pytest.raises(Malformed):
        frame_bits(bytes(4), frame_number, 9)
