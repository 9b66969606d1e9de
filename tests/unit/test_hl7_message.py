"""The grammar of HL7 v2: what is cut where, and in which order escapes are undone."""

import pytest

from drimbox.errors import Malformed, TooLarge
from drimbox.hl7.message import MAX_ESCAPE_MARKS, MAX_PARTS, MAX_SEGMENTS, build_segment, parse_message

MSH = b"MSH|^~\\&|APP|FAC|BOX|SITE|20260102||ORU^R01^ORU_R01|42|P|2.5|||||FRA|UNICODE UTF-8\r"


def text_of(fields: bytes, number: int, component: int = 1, subcomponent: int = 1, head: bytes = MSH) -> str:
    segment = parse_message(head + b"ZZZ|" + fields).find("ZZZ")
    assert segment is not None
    return segment.text(number, component, subcomponent)


def test_fields_are_numbered_as_in_the_standard_msh_included():
    header = parse_message(MSH).header
    assert [header.text(number) for number in (1, 3, 10, 12, 18)] == ["|", "APP", "42", "2.5", "UNICODE UTF-8"]
    assert header.fields[2] == b"^~\\&"
    assert (header.text(9, 1), header.text(9, 2), header.text(9, 3)) == ("ORU", "R01", "ORU_R01")


def test_repetitions_components_and_subcomponents():
    pid = parse_message(MSH + b"PID|||A^^^N&1.2&ISO^INS~B^^^M&1.3&ISO^PI").find("PID")
    assert pid is not None
    assert [(cx.text(1), cx.text(4, 2), cx.text(5)) for cx in pid.all(3)] == [("A", "1.2", "INS"), ("B", "1.3", "PI")]
    assert pid.all(2) == () and pid.text(40) == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (rb"a\F\b", "a|b"),
        (rb"a\S\b\T\c\R\d", "a^b&c~d"),
        (rb"\E\F\E\ ", "\\F\\"),
        (rb"a\.br\b", "a\nb"),
        (rb"\H\loud\N\ ", "loud"),
        (rb"\X0D0A50\ID", "PID"),
        (rb"\XC3A9\t\XC3A9\ ", "été"),
        (rb"\X0\ ", "\\X0\\"),
        (rb"C:\images", "C:\\images"),
        (rb"\Zlocal\ ", "\\Zlocal\\"),
        (b'""', ""),
        (b"  x\xc2\xa0 ", "x"),
    ],
)
def test_escapes(raw, expected):
    assert text_of(raw, 1) == expected


def test_an_escaped_carriage_return_never_begins_a_segment():
    message = parse_message(MSH + rb"OBX|1|ST|\X0D\PID\F\\F\\F\stolen")
    assert [segment.name for segment in message.segments] == ["MSH", "OBX"]
    assert message.segments[1].text(3) == "PID|||stolen"


def test_other_encoding_characters():
    message = parse_message(b"MSH$*%!@$APP$$$$20260102$$ORU*R01$7$P$2.5\rPID$$$a@b*c%d$x!F!y")
    pid = message.find("PID")
    assert pid is not None
    assert (message.header.text(9, 2), pid.text(3, 1, 2), pid.all(3)[1].text(), pid.text(4)) == ("R01", "b", "d", "x$y")


@pytest.mark.parametrize("declared", [b"8859/1", b"8859/15", b"UNICODE UTF-8", b"", b"BIG-5"])
@pytest.mark.parametrize("codec", ["utf-8", "iso8859-1"])
def test_accents_survive_a_lie_about_the_character_set(declared, codec):
    head = MSH.replace(b"UNICODE UTF-8", declared)
    assert text_of("Hélène à Nîmes".encode(codec), 1, head=head) == "Hélène à Nîmes"


def test_the_euro_sign_of_8859_15():
    assert text_of(b"12 \xa4", 1, head=MSH.replace(b"UNICODE UTF-8", b"8859/15")) == "12 €"
    assert text_of(b"12 \xa4", 1, head=MSH.replace(b"UNICODE UTF-8", b"8859/1")) == "12 ¤"


def test_raw_bytes_are_kept():
    data = b"\r\n" + MSH + b"NTE|1||caf\xe9"
    assert parse_message(data).raw == data


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_line_ends_of_files_are_read(end):
    message = parse_message(b"\xef\xbb\xbf" + MSH[:-1] + end + b"PID|1" + end + b"PV1|1" + end)
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "PV1"]


def test_a_line_feed_inside_a_segment_is_data():
    message = parse_message(MSH + b"NTE|1||first\nPID|second\rPV1|1")
    assert [segment.name for segment in message.segments] == ["MSH", "NTE", "PV1"]
    continued = parse_message(MSH[:-1] + b"\nOBX|4|CE|FLAG^two lines \n||N|")
    assert continued.segments[1].text(5) == "N"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MSH",
        b"PID|1",
        b"MSH||||||||",
        b"MSH|^^^^|a",
        b"MSHabcde",
        b"MSH|^~\\&|\xff\x00",
        MSH + b"PID|\x00",
        MSH + b"PID|\x0bMSH|",
        MSH + b"PID|\x1c",
        MSH + b"no name|1",
        MSH + b"PIDX|1",
    ],
)
def test_what_is_no_message_is_malformed(data):
    with pytest.raises(Malformed):
        parse_message(data)


def test_counts_are_capped():
    with pytest.raises(TooLarge):
        parse_message(MSH + b"Z00|\r" * (MAX_SEGMENTS + 1))
    with pytest.raises(TooLarge):
        parse_message(MSH + b"ZZZ" + b"|" * (MAX_PARTS + 1))
    with pytest.raises(TooLarge):
        text_of(b"^" * (MAX_PARTS + 1), 1, 2)
    with pytest.raises(TooLarge):
        text_of(b"\\H" * (MAX_ESCAPE_MARKS + 1), 1)


def test_a_segment_is_written_with_everything_escaped():
    written = build_segment("PID", "a|b\rPID|", ["x", ("y", ("z&", "t"))], "")
    assert written == "PID|a\\F\\b\\X0D\\PID\\F\\|x~y^z\\T\\&t\r"
    assert build_segment("MSH", "APP") == "MSH|^~\\&|APP\r"
