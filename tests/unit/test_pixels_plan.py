"""What the node answers for each stored and each wanted transfer syntax."""

import pytest

from drimbox.errors import NotAcceptable
from drimbox.pixels.plan import Native, Stored, plan, plan_frames, possible

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
H264 = "1.2.840.10008.1.2.4.102"
JPIP = "1.2.840.10008.1.2.4.94"
PRIVATE = "1.2.840.113619.5.2"


@pytest.mark.parametrize(
    ("stored", "wanted", "answer"),
    [
        (JPEG_2000, ["*"], Stored(JPEG_2000)),
        (JPEG_2000, [JPEG_2000], Stored(JPEG_2000)),
        (JPEG_2000, [EXPLICIT], Native()),
        (JPEG_2000, [EXPLICIT, "*"], Stored(JPEG_2000)),
        (EXPLICIT, [EXPLICIT], Stored(EXPLICIT)),
        (IMPLICIT, [EXPLICIT], Native()),
        (BIG_ENDIAN, [EXPLICIT], Native()),
        (DEFLATED, [EXPLICIT], Native()),
        (H264, ["*"], Stored(H264)),
        (PRIVATE, ["*"], Stored(PRIVATE)),
    ],
)
def test_stored_bytes_are_preferred_then_native_ones(stored, wanted, answer):
    assert plan(stored, wanted) == answer


@pytest.mark.parametrize("stored", [H264, JPIP, PRIVATE, "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.59"])
def test_what_we_cannot_decode_is_refused_with_what_is_possible(stored):
    with pytest.raises(NotAcceptable, match=f"possible: {stored}$"):
        plan(stored, [EXPLICIT])


def test_a_syntax_we_do_not_make_is_refused_with_what_is_possible():
    with pytest.raises(NotAcceptable, match=f"possible: {JPEG_2000}, {EXPLICIT}$"):
        plan(JPEG_2000, [IMPLICIT, "1.2.840.10008.1.2.4.80"])


def test_nothing_wanted_is_nothing_acceptable():
    with pytest.raises(NotAcceptable):
        plan(EXPLICIT, [])


@pytest.mark.parametrize(
    ("stored", "wanted", "answer"),
    [
        (IMPLICIT, [EXPLICIT], Stored(EXPLICIT)),
        (IMPLICIT, ["*"], Stored(EXPLICIT)),
        (DEFLATED, [EXPLICIT], Native()),
        (BIG_ENDIAN, [EXPLICIT], Native()),
        (JPEG_2000, [EXPLICIT], Native()),
    ],
)
def test_frames_of_implicit_vr_are_native_already(stored, wanted, answer):
    assert plan_frames(stored, wanted) == answer


def test_possible_lists_the_stored_syntax_first():
    assert possible(JPEG_2000) == (JPEG_2000, EXPLICIT)
    assert possible(EXPLICIT) == (EXPLICIT,)
    assert possible(H264) == (H264,)
