"""The official requests between DRIMboxes (drim-m.md D.2), each at study, series, instance and frames level.

The rankings are those of the national samples; what is chosen was worked out by hand: the stored syntax while its q
is at least half the best one that can be given, else the best. The operator did not allow loss, so what is lossless is
never made lossy, whatever the ranking.
"""

import socket
from itertools import pairwise

import pytest
from dicomweb_stage import STUDY, Box, path_of

UID = "1.2.840.10008.1.2."
LOSSLESS = {"4.70": "0.9", "4.80": "0.8", "4.91": "0.6", "4.50": "0.5", "4.51": "0.5", "4.100": "0.5", "4.101": "0.5",
            "4.102": "0.5", "4.103": "0.5", "1": "0.4"}  # fmt: skip
LOSSY = {**LOSSLESS, "4.70": "0.6", "4.80": "0.5", "4.91": "0.5", "4.50": "0.9", "4.51": "0.9"}
EQUAL = dict.fromkeys(LOSSLESS, "0.5")
MOST_AND_LEAST = {**dict.fromkeys(LOSSLESS, "0.001"), "4.91": "1.0"}
LEAST_IS_STORED = {**dict.fromkeys(LOSSLESS, "1"), "4.80": "0.001"}
NOT_AS_STORED = {**EQUAL, "4.80": "0", "1": "0"}

# what is asked: {what is kept: what comes}
CHOSEN = {
    "lossless": (LOSSLESS, {"jpeg_ls": "4.80", "baseline": "4.50", "ct": "4.70", "rle": "4.70", "implicit": "4.70"}),
    "lossy": (LOSSY, {"jpeg_ls": "4.80", "baseline": "4.50", "ct": "1", "rle": "4.70", "implicit": "4.70"}),
    "all equal": (EQUAL, {"jpeg_ls": "4.80", "baseline": "4.50", "ct": "1", "rle": "1", "implicit": "1"}),
    "most and least": (MOST_AND_LEAST, {"jpeg_ls": "4.91", "ct": "4.91", "rle": "4.91"}),
    "least is stored": (LEAST_IS_STORED, {"jpeg_ls": "1", "ct": "1", "baseline": "4.50"}),
    "stored refused": (NOT_AS_STORED, {"jpeg_ls": "4.70", "ct": "4.70"}),
}
AS_FRAMES = {("lossy", "implicit"): "1"}  # frames in implicit VR are Explicit VR Little Endian as they lie there
CASES = [(asked, kept, came) for asked, (_, table) in CHOSEN.items() for kept, came in table.items()]


def ranges(weights: dict[str, str]) -> list[str]:
    return [
        f'multipart/related; type="application/dicom";transfer-syntax={UID}{syntax};q={q};boundary=**'
        for syntax, q in weights.items()
    ]


def one_line(weights: dict[str, str]) -> list[str]:
    return [f"Accept: {','.join(ranges(weights))},"]


def ten_headers(weights: dict[str, str]) -> list[str]:
    return [f"Accept: {each}" for each in ranges(weights)]


def switched(weights: dict[str, str]) -> list[str]:
    """Other headers first and last, the ranges from behind."""
    return ["KOS-SOPInstanceUID: 1.2.3", f"accept: {','.join(reversed(ranges(weights)))}", "Situation: 1.2.250.1.71"]


FORMS = {"one line": one_line, "ten headers": ten_headers, "switched": switched}


def ask(box: Box, path: str, lines: list[str]) -> tuple[str, bytes]:
    """Status line and everything after it, read to the end."""
    with socket.create_connection(("127.0.0.1", box.port), timeout=30) as raw:
        raw.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: box", "Connection: close", *lines, "", ""]).encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    status, _, rest = answer.partition(b"\r\n")
    return status.decode(), rest


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("asked", "kept", "came"), CASES, ids=[f"{asked}-{kept}" for asked, kept, _ in CASES])
def test_the_official_request_gets_the_right_syntax_at_every_level(
    box: Box, asked: str, kept: str, came: str, form: str
) -> None:
    lines = FORMS[form](CHOSEN[asked][0])
    instance = path_of(kept)
    for path in (instance, instance.rpartition("/instances")[0]):
        status, rest = ask(box, path, lines)
        assert status.endswith(" 200 OK")
        assert f"Content-Type: application/dicom;transfer-syntax={UID}{came}\r\n".encode() in rest
    status, rest = ask(box, f"{instance}/frames/1", lines)
    assert status.endswith(" 200 OK")
    came = AS_FRAMES.get((asked, kept), came)
    assert f";transfer-syntax={UID}{came}\r\n".encode() in rest


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("asked", ["lossless", "lossy", "all equal"])
def test_a_study_has_for_each_instance_its_right_syntax(box: Box, asked: str, form: str) -> None:
    weights, table = CHOSEN[asked]
    status, rest = ask(box, f"/studies/{STUDY}", FORMS[form](weights))
    assert status.endswith(" 200 OK")
    parts = rest.split(b"Content-Location: ")
    for kept, came in table.items():
        before = next(before for before, part in pairwise(parts) if path_of(kept).encode() in part)
        assert before.endswith(f"Content-Type: application/dicom;transfer-syntax={UID}{came}\r\n".encode())


def test_nothing_that_can_be_given_is_406_with_what_can(box: Box) -> None:
    status, rest = ask(box, path_of("jpeg_ls"), one_line({"4.102": "1", "4.50": "0.9"}))
    assert status.endswith(" 406 Not Acceptable")
    assert b"1.2.840.10008.1.2.4.80" in rest
