"""The Accept parser and the choice of a representation. The ranges are those of viewers and peers in service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicomweb.accept import (
    ANYTHING,
    MOST_CHARACTERS,
    MOST_RANGES,
    Choice,
    MediaRange,
    accepts_gzip,
    choose_bulkdata,
    choose_frame,
    choose_instance,
    choose_plain,
    parse_accept,
)
from drimbox.errors import Malformed, NotAcceptable

NATIVE = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"
MPEG4 = "1.2.840.10008.1.2.4.102"

DICOM = "application/dicom"
OCTETS = "application/octet-stream"
MULTI = "multipart/related"


def national(weights: dict[str, str]) -> str:
    """The header a DRIMbox sends: ten ranges on one line, with a comma at the end."""
    ranges = (
        f'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.{syntax};q={q};boundary=**'
        for syntax, q in weights.items()
    )
    return ",".join(ranges) + ","


_TEN = ("4.70", "4.80", "4.91", "4.50", "4.51", "4.100", "4.101", "4.102", "4.103", "1")
_HALF = dict.fromkeys(_TEN, "0.5")
LOSSLESS = national({**_HALF, "4.70": "0.9", "4.80": "0.8", "4.91": "0.6", "1": "0.4"})
LOSSY = national({**_HALF, "4.70": "0.6", "4.50": "0.9", "4.51": "0.9", "1": "0.4"})
EQUAL = national(_HALF)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", ANYTHING),
        (" , ,", ANYTHING),
        ("*/*", ANYTHING),
        ("*", ANYTHING),
        ("application/dicom+json", (MediaRange("application/dicom+json"),)),
        ("Application/DICOM+JSON ; Q=0.5", (MediaRange("application/dicom+json", q=0.5),)),
        ('multipart/related; type="application/dicom"', (MediaRange(MULTI, DICOM),)),
        ("multipart/related;type=application/octet-stream", (MediaRange(MULTI, OCTETS),)),
        ("multipart/related ; TYPE = Application/Octet-Stream ; Transfer-Syntax=*", (MediaRange(MULTI, OCTETS, "*"),)),
        ('multipart/related; type="image/jls"; transfer-syntax="1.2.3"', (MediaRange(MULTI, "image/jls", "1.2.3"),)),
        ('multipart/related; type="image/jls;transfer-syntax=1.2.3"', (MediaRange(MULTI, "image/jls"),)),
        ('multipart/related; type="application\\/dicom"', (MediaRange(MULTI, DICOM),)),
        ('multipart/related; x="a,b;c\\",d"; type="application/dicom"', (MediaRange(MULTI, DICOM),)),
        ("image/jpeg;unknown;;  ;=;q=0.3", (MediaRange("image/jpeg", q=0.3),)),
        ("image/jpeg;q=7", (MediaRange("image/jpeg", q=1.0),)),
        ("image/jpeg;q=-1", (MediaRange("image/jpeg", q=0.0),)),
        ("image/jpeg;q=.5", (MediaRange("image/jpeg", q=0.5),)),
        ("image/jpeg;q=1.", (MediaRange("image/jpeg", q=1.0),)),
        ("image/jpeg;q=nan, text/html;q=0.1", (MediaRange("text/html", q=0.1),)),
        ("garbage, a/b", (MediaRange("a/b"),)),
        ("a/b;q=0.1, c/d;q=0.9", (MediaRange("c/d", q=0.9), MediaRange("a/b", q=0.1))),
        ('unclosed/quote; type="application/dicom', (MediaRange("unclosed/quote"),)),
    ],
)
def test_accept_is_read_as_rfc_9110_says_and_with_tolerance(field: str, expected: tuple[MediaRange, ...]) -> None:
    assert parse_accept([field]) == expected


def test_garbage_alone_accepts_nothing() -> None:
    assert parse_accept(["garbage"]) == ()


def test_the_national_header_is_ten_ranges_best_first() -> None:
    ranges = parse_accept([LOSSLESS])
    assert len(ranges) == 10
    assert [r.transfer_syntax for r in ranges[:3]] == [JPEG_LOSSLESS, JPEG_LS, "1.2.840.10008.1.2.4.91"]
    assert ranges[-1] == MediaRange(MULTI, DICOM, NATIVE, 0.4)
    assert {r.type for r in ranges} == {MULTI}


def test_ten_headers_are_the_same_as_one() -> None:
    fields = [field for field in LOSSY.split(",") if field]
    assert len(fields) == 10
    assert parse_accept(fields) == parse_accept([LOSSY])


@pytest.mark.parametrize("field", ["a/b," * (MOST_RANGES + 1), "a/b;x=" + "y" * MOST_CHARACTERS])
def test_a_header_out_of_all_proportion_is_refused(field: str) -> None:
    with pytest.raises(Malformed):
        parse_accept([field])


@pytest.mark.parametrize("field", ['"' * 16000, "\\" * 16000, 'a/b;x="' + "\\" * 16000, ";" * 16000, "a=" * 8000])
def test_hostile_headers_are_read_in_linear_time(field: str) -> None:
    parse_accept([field])


@given(st.text(max_size=300), st.text(alphabet='ab/*;,="\\ .q01-', max_size=300))
def test_whatever_is_sent_gives_ranges_or_a_refusal(anything: str, alike: str) -> None:
    for ranges in (parse_accept([anything]), parse_accept([alike]), parse_accept([anything, alike])):
        assert all(0 <= r.q <= 1 and r.type == r.type.lower() for r in ranges)
        assert [r.q for r in ranges] == sorted((r.q for r in ranges), reverse=True)


# --- Instances ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [LOSSLESS, LOSSY, EQUAL])
@pytest.mark.parametrize("stored", [JPEG_LOSSLESS, JPEG_LS, JPEG_BASELINE, MPEG4])
def test_the_national_header_is_answered_with_stored_bytes_when_a_range_covers_them(header: str, stored: str) -> None:
    choice = choose_instance(parse_accept([header]), (stored, NATIVE), one=False)
    assert choice == Choice(stored, DICOM, multipart=True)


@pytest.mark.parametrize("header", [LOSSLESS, LOSSY, EQUAL])
@pytest.mark.parametrize("stored", [HTJ2K, JPEG_2000_LOSSLESS, RLE, IMPLICIT])
def test_what_the_national_header_does_not_name_is_made_native(header: str, stored: str) -> None:
    choice = choose_instance(parse_accept([header]), (stored, NATIVE), one=False)
    assert choice == Choice(NATIVE, DICOM, multipart=True)


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        ("", JPEG_LS, Choice(JPEG_LS, DICOM, True)),
        ("*/*", JPEG_LS, Choice(JPEG_LS, DICOM, True)),
        ("*/*", IMPLICIT, Choice(IMPLICIT, DICOM, True)),
        ("application/*", JPEG_LS, Choice(JPEG_LS, DICOM, False)),
        ("multipart/related", JPEG_LS, Choice(JPEG_LS, DICOM, True)),
        ("multipart/*", JPEG_LS, Choice(JPEG_LS, DICOM, True)),
        ('multipart/related; type="application/dicom"', JPEG_LS, Choice(NATIVE, DICOM, True)),
        ("multipart/related; type=application/dicom", JPEG_LS, Choice(NATIVE, DICOM, True)),
        ('multipart/related; type="application/dicom"', JPEG_BASELINE, Choice(JPEG_BASELINE, DICOM, True)),
        ('multipart/related; type="application/dicom"; transfer-syntax=*', JPEG_LS, Choice(JPEG_LS, DICOM, True)),
        ("application/dicom; transfer-syntax=*", JPEG_LS, Choice(JPEG_LS, DICOM, False)),
        ("application/dicom", JPEG_LS, Choice(NATIVE, DICOM, False)),
        (f"application/dicom;transfer-syntax={JPEG_LS}", JPEG_LS, Choice(JPEG_LS, DICOM, False)),
        # A better q for the native form does not pay for a transcoding; four times as much does.
        (
            f'multipart/related; type="application/dicom"; transfer-syntax={NATIVE}, '
            f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}; q=0.5',
            JPEG_LS,
            Choice(JPEG_LS, DICOM, True),
        ),
        (
            f'multipart/related; type="application/dicom"; transfer-syntax={NATIVE}, '
            f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}; q=0.25',
            JPEG_LS,
            Choice(NATIVE, DICOM, True),
        ),
    ],
)
def test_an_instance_goes_as_stored_whenever_that_is_accepted(header: str, stored: str, expected: Choice) -> None:
    assert choose_instance(parse_accept([header]), (stored, NATIVE), one=True) == expected


def test_the_most_precise_range_decides() -> None:
    no_jpeg_ls = f'*/*, multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}; q=0'
    assert choose_instance(parse_accept([no_jpeg_ls]), (JPEG_LS, NATIVE), one=False) == Choice(NATIVE, DICOM, True)


def test_plain_dicom_for_a_series_is_answered_in_parts() -> None:
    choice = choose_instance(parse_accept(["application/dicom; transfer-syntax=*"]), (JPEG_LS, NATIVE), one=False)
    assert choice == Choice(JPEG_LS, DICOM, multipart=True)


@pytest.mark.parametrize(
    "header", ["image/png", "application/dicom+json", "*/*;q=0", 'multipart/related; type="image/jpeg"', "garbage"]
)
def test_what_cannot_be_given_is_refused_with_what_can(header: str) -> None:
    with pytest.raises(NotAcceptable) as refusal:
        choose_instance(parse_accept([header]), (JPEG_LS, NATIVE), one=True)
    assert JPEG_LS in refusal.value.why
    assert NATIVE in refusal.value.why
    assert header not in refusal.value.why


# --- Frames ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "stored", "expected"),
    [
        # microsoft/dicom-server#1284: what the viewers of today send, without quotes.
        ("multipart/related; type=application/octet-stream", JPEG_LS, Choice(NATIVE, OCTETS, True)),
        ('multipart/related; type="application/octet-stream"', NATIVE, Choice(NATIVE, OCTETS, True)),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", JPEG_LS, Choice(JPEG_LS, OCTETS, True)),
        (
            f"multipart/related;type=application/octet-stream;transfer-syntax={JPEG_LS}",
            JPEG_LS,
            Choice(JPEG_LS, OCTETS, True),
        ),
        # OHIF/Viewers#3785: the answer to */* names its syntax exactly.
        ("*/*", JPEG_LS, Choice(JPEG_LS, "image/jls", True)),
        ("*/*", RLE, Choice(RLE, "image/dicom-rle", True)),
        ("*/*", HTJ2K, Choice(HTJ2K, "image/jphc", True)),
        ("*/*", MPEG4, Choice(MPEG4, "video/mp4", True)),
        ("*/*", NATIVE, Choice(NATIVE, OCTETS, True)),
        # dcmjs-org/dicomweb-client#88: metadata and frames in one list.
        (
            "application/dicom+json, multipart/related; type=application/octet-stream",
            JPEG_LS,
            Choice(NATIVE, OCTETS, True),
        ),
        # ImagingDataCommons/dicomweb-client PR #95: two names for one thing; the caller's is used.
        (
            f'multipart/related; type="image/x-jls"; transfer-syntax={JPEG_LS}',
            JPEG_LS,
            Choice(JPEG_LS, "image/x-jls", True),
        ),
        ('multipart/related; type="image/x-dicom-rle"', RLE, Choice(RLE, "image/x-dicom-rle", True)),
        ('multipart/related; type="image/jpeg"', JPEG_BASELINE, Choice(JPEG_BASELINE, "image/jpeg", True)),
        ('multipart/related; type="image/*"', JPEG_LS, Choice(JPEG_LS, "image/jls", True)),
        ("image/jls", JPEG_LS, Choice(JPEG_LS, "image/jls", False)),
        ("application/octet-stream", JPEG_LS, Choice(NATIVE, OCTETS, False)),
        # The octets are preferred, but the stored form is accepted: no transcoding.
        (
            'multipart/related; type="application/octet-stream", multipart/related; type="image/jls"; q=0.5',
            JPEG_LS,
            Choice(JPEG_LS, "image/jls", True),
        ),
        # The national sample asks for a frame in the words of instances.
        (EQUAL, JPEG_LS, Choice(JPEG_LS, "image/jls", True)),
        (EQUAL, NATIVE, Choice(NATIVE, OCTETS, True)),
        (EQUAL, HTJ2K, Choice(NATIVE, OCTETS, True)),
    ],
)
def test_a_frame_goes_as_stored_whenever_that_is_accepted(header: str, stored: str, expected: Choice) -> None:
    possible = (NATIVE,) if stored == NATIVE else (stored, NATIVE)
    assert choose_frame(parse_accept([header]), possible, one=True) == expected


def test_several_frames_asked_as_a_plain_type_come_in_parts() -> None:
    assert choose_frame(parse_accept(["image/jls"]), (JPEG_LS, NATIVE), one=False).multipart


def test_video_cannot_become_octets() -> None:
    with pytest.raises(NotAcceptable, match=r"video/mp4"):
        choose_frame(parse_accept(["multipart/related; type=application/octet-stream"]), (MPEG4,), one=True)


# --- The rest ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", "application/dicom+json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/json", "application/json"),
        ("application/json;q=0.5, application/dicom+json;q=0.4", "application/json"),
        ("application/dicom+json, multipart/related; type=application/octet-stream", "application/dicom+json"),
        ('multipart/related; type="application/dicom+xml", application/dicom+json;q=0.1', "application/dicom+json"),
        ("application/dicom+json; transfer-syntax=*", "application/dicom+json"),
        ("application/dicom+json; transfer-syntax=1.2.840.10008.1.2.1", "application/dicom+json"),
    ],
)
def test_metadata_are_json_under_the_name_asked_for(header: str, expected: str) -> None:
    assert choose_plain(parse_accept([header]), ("application/dicom+json", "application/json")) == expected


def test_xml_alone_is_refused() -> None:
    with pytest.raises(NotAcceptable, match=r"application/dicom\+json"):
        choose_plain(
            parse_accept(['multipart/related; type="application/dicom+xml"']),
            ("application/dicom+json", "application/json"),
        )


@pytest.mark.parametrize(
    ("header", "in_parts"),
    [
        ("", False),
        ("*/*", False),
        ("application/octet-stream", False),
        ('multipart/related; type="application/octet-stream"', True),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", True),
        ('multipart/related; type="*/*"', True),
        ('multipart/related; type="application/octet-stream", application/octet-stream; q=0.9', True),
    ],
)
def test_bulk_data_go_alone_or_in_parts_as_asked(header: str, in_parts: bool) -> None:
    assert choose_bulkdata(parse_accept([header])) is in_parts


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("GZIP ; q=0.2", True),
        ("gzip;q=0", False),
        ("gzip;q=zzz", False),
        ("br, identity", False),
    ],
)
def test_gzip_is_used_only_when_named(header: str, taken: bool) -> None:
    assert accepts_gzip(header) is taken
