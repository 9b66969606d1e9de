"""What can be sent of an object, by the transfer syntax it is kept in."""

import pytest

from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.pixels.plan import possible
from drimbox.pixels.syntaxes import DECODABLE

EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.mark.parametrize(
    "stored",
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"]
    + ["1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.1.98"]
    + [f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)],
)
def test_what_we_decode_is_possible_as_stored_first_then_native(stored):
    assert possible(stored)[:2] == (stored, EXPLICIT)
    assert len(set(possible(stored))) == len(possible(stored))


def test_explicit_little_endian_is_native_already():
    assert possible(EXPLICIT).count(EXPLICIT) == 1
    assert possible(EXPLICIT)[0] == EXPLICIT


@pytest.mark.parametrize(
    "stored",
    [f"1.2.840.10008.1.2.4.{n}" for n in (59, 92, 94, 102, 107, 110)] + ["1.2.840.113619.5.2"],
)
def test_video_jpip_jpeg_xl_hierarchical_and_private_syntaxes_are_possible_as_stored_only(stored):
    assert possible(stored) == (stored,)


def test_every_decodable_syntax_is_one_we_know_and_no_video():
    assert all(uid in TRANSFER_SYNTAXES and not TRANSFER_SYNTAXES[uid].is_video for uid in DECODABLE)
