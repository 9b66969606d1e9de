"""Whatever text goes in a segment comes out of it; no bytes at all make the parser fail otherwise than by a leaf."""

from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st

from drimbox.errors import DrimboxError, Malformed
from drimbox.hl7.ack import build_ack
from drimbox.hl7.cda import read_cda
from drimbox.hl7.inbound import read_inbound
from drimbox.hl7.message import build_segment, parse_header, parse_message
from drimbox.sandbox.ris import Study, build_oru
from drimbox.sandbox.ris_document import PATIENT, build_cda

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MSH = build_segment("MSH", "A", "B", "C", "D", "2026", "", ("ORU", "R01"), "1", "P", "2.5", *[""] * 5, "UNICODE UTF-8")
REPORT = build_oru(Study("1.2.3", "PID1", "ACC1"), AT, message_id="1")
CDA = build_cda([Study("1.2.3")], AT, document_uid="1.2.9")

# `""` alone is the null value, and blanks at the ends mean nothing.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30).map(str.strip).filter(lambda text: text != '""')


@given(st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=6))
@example([["\\X0D\\"], ["a|b^c&d~e\\f\r\ng\x0b\x1ch"], ["\x00"], ["\\"]])
def test_a_segment_is_read_as_it_was_written(fields):
    """fields: components of each; every component gets a second subcomponent."""
    written = build_segment("ZZZ", *[tuple((part, "x") for part in components) for components in fields])
    assert written.count("\r") == 1 and not set("\n\0\x0b\x1c") & set(written)
    segment = parse_message((MSH + written).encode()).find("ZZZ")
    assert segment is not None
    for number, components in enumerate(fields, start=1):
        assert [segment.text(number, position) for position in range(1, len(components) + 1)] == components
        assert segment.text(number, 1, 2) == "x"


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"MSH|^~\\&" + b"|" * 30)
@example(b"MSH|^~\\&|\\X41\\|||||ORU^R01|1|P|2.5\rOBX|1|ED|18748-4||!\r")
def test_any_bytes_are_read_or_refused(data):
    with suppress(DrimboxError):
        read_inbound(parse_message(b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|1|P|2.5\r" + data))
    with suppress(DrimboxError):
        read_inbound(parse_message(data))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_report_is_read_or_refused(data):
    damaged = bytearray(REPORT)
    for _ in range(data.draw(st.integers(1, 10))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DrimboxError):
        read_inbound(parse_message(bytes(damaged)))


@settings(deadline=None)
@given(st.data())
def test_a_damaged_cda_is_read_or_refused(data):
    damaged = bytearray(CDA)
    for _ in range(data.draw(st.integers(1, 10))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DrimboxError):
        assert read_cda(bytes(damaged)).exams


@given(st.binary(max_size=60))
def test_an_answer_is_always_three_segments_at_most(noise):
    data = MSH.encode().replace(b"|A|B|", b"|" + noise + b"|B|")
    with suppress(DrimboxError):
        header = parse_header(data)
        answer = build_ack(header, Malformed("CDA", "x"), AT, "N1")
        assert [segment.name for segment in parse_message(answer).segments] == ["MSH", "MSA", "ERR"]


def test_the_played_report_has_the_patient_it_was_given():
    report = read_inbound(parse_message(REPORT))
    assert report.patient.ins == PATIENT.ins
    assert report.exams[0].study_uid == "1.2.3"
