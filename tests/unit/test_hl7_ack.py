"""The answer says the right thing, to the right one, and cannot be bent by what was received."""

from datetime import UTC, datetime

import hl7
import pytest

from drimbox.errors import (
    Conflict,
    Denied,
    DrimboxError,
    Malformed,
    NoSpace,
    NotAcceptable,
    TooLarge,
    Unavailable,
    Unidentified,
    leaves,
)
from drimbox.hl7.ack import ACK_CODE, build_ack
from drimbox.hl7.message import parse_header, parse_message

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = "MSH|^~\\&|RIS|CENTRE|BOX|SITE|20260102||{kind}|M1|T|2.6|||||FRA|{charset}\r"


def ack(error: DrimboxError | None, kind: str = "ORU^R01^ORU_R01", charset: str = "UNICODE UTF-8") -> str:
    header = parse_header(MSH.format(kind=kind, charset=charset).encode())
    return build_ack(header, error, AT, "N1").decode(
        {"8859/1": "iso8859-1", "8859/15": "iso8859-15"}.get(charset, "utf-8")
    )


@pytest.mark.parametrize("kind", ["ORU^R01^ORU_R01", "MDM^T02^MDM_T02"])
def test_accepted(kind):
    event = kind.split("^")[1]
    msh = f"MSH|^~\\&|BOX|SITE|RIS|CENTRE|20260102030405+0000||ACK^{event}^ACK|N1|T|2.6|||||FRA|UNICODE UTF-8\r"
    assert ack(None, kind) == msh + "MSA|AA|M1\r"


def test_each_error_leaf_has_a_code():
    assert set(ACK_CODE) == set(leaves(DrimboxError))
    assert set(ACK_CODE.values()) == {"AE", "AR"}


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (NotAcceptable("message type", "x"), "AR", "ERR||MSH^1^9^1^1|200^Unsupported message type^HL70357|E"),
        (NotAcceptable("trigger event", "x"), "AR", "ERR||MSH^1^9^1^2|201^Unsupported event code^HL70357|E"),
        (NotAcceptable("version", "x"), "AR", "ERR||MSH^1^12|203^Unsupported version id^HL70357|E"),
        (NotAcceptable("MSH-18", "x"), "AR", "ERR||MSH^1^18|103^Table value not found^HL70357|E"),
        (Malformed("required field", "x"), "AE", "ERR|||101^Required field missing^HL70357|E"),
        (Malformed("OBX-5", "x"), "AE", "ERR||OBX^1^5|102^Data type error^HL70357|E"),
        (Malformed("CDA", "x"), "AE", "ERR|||102^Data type error^HL70357|E"),
        (TooLarge("CDA", "x"), "AE", "ERR|||102^Data type error^HL70357|E"),
        (Conflict("patient", "x"), "AE", "ERR||PID^1^3|204^Unknown key identifier^HL70357|E"),
        (Denied("report", "x"), "AR", "ERR|||207^Application internal error^HL70357|E"),
        (Unidentified("report", "x"), "AR", "ERR|||207^Application internal error^HL70357|E"),
        (NoSpace("volume", "x"), "AE", "ERR|||207^Application internal error^HL70357|E"),
        (Unavailable("node", "x"), "AR", "ERR|||207^Application internal error^HL70357|E"),
    ],
)
def test_refused(error, code, err):
    lines = ack(error).split("\r")
    assert lines[1] == f"MSA|{code}|M1"
    assert lines[2] == f"{err}||||{error.what}: x"


def test_an_unreadable_message_is_answered_all_the_same():
    lines = build_ack(None, Malformed("MSH", "x"), AT, "N1").decode().split("\r")
    assert lines[0] == "MSH|^~\\&|||||20260102030405+0000||ACK|N1|P|2.5|||||FRA|UNICODE UTF-8"
    assert lines[1] == "MSA|AE"
    assert lines[2] == "ERR|||100^Segment sequence error^HL70357|E||||MSH: x"


def test_what_was_received_cannot_forge_a_segment():
    data = MSH.format(kind="ORU^R01", charset="").replace("M1", r"M1\X0D\MSA\F\AA\F\OTHER")
    text = build_ack(parse_header(data.encode()), Malformed("MSH", "x"), AT, "N1").decode()
    assert [line[:3] for line in text.split("\r")] == ["MSH", "MSA", "ERR", ""]
    assert parse_message(text.encode()).segments[1].text(2) == "M1\rMSA|AA|OTHER"


@pytest.mark.parametrize("charset", ["8859/1", "8859/15", "UNICODE UTF-8"])
def test_the_answer_is_in_the_character_set_of_the_message(charset):
    header = parse_header(MSH.format(kind="ORU^R01", charset=charset).replace("RIS", "HÔPITAL").encode())
    codec = {"8859/1": "iso8859-1", "8859/15": "iso8859-15"}.get(charset, "utf-8")
    text = build_ack(header, None, AT, "N1").decode(codec)
    assert "|HÔPITAL|" in text and f"|FRA|{charset}" in text


def test_an_independent_parser_reads_it():
    parsed = hl7.parse(ack(Malformed("CDA", "a^b|c")))
    assert str(parsed.segment("MSA")[1]) == "AE"
    assert str(parsed.segment("ERR")[3][0][0]) == "102"
    assert parsed.unescape(str(parsed.segment("ERR")[8])) == "CDA: a^b|c"
