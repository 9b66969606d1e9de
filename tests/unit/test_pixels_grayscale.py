"""Look-up tables, palettes and overlays, by values worked out by hand."""

import struct

import numpy as np
import pytest

from drimbox.errors import NotAcceptable
from drimbox.pixels.colour import expand_segments, from_native_422, from_ybr
from drimbox.pixels.grayscale import Grayscale, Lut, Window, read_lut, read_modality, read_voi
from drimbox.pixels.header import Item
from drimbox.pixels.overlays import read_overlays


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


def lut_item(first: int, bits: int, *entries: int) -> Item:
    return Item(values={0x00283002: words(len(entries), first & 0xFFFF, bits), 0x00283006: words(*entries)})


def test_a_table_begins_at_its_first_input_and_holds_at_both_ends():
    lut = Lut(10, 8, words(0, 100, 200))
    assert lut.apply(np.array([-5, 10, 11, 12, 500])).tolist() == [0, 0, 100, 200, 200]


def test_the_first_input_is_signed_where_the_values_are():
    item = lut_item(-2, 16, 1, 2, 3)
    signed, unsigned = read_lut(item, signed=True), read_lut(item, signed=False)
    assert signed is not None
    assert unsigned is not None
    assert (signed.first, unsigned.first) == (-2, 65534)


def test_a_table_is_taken_before_a_window():
    item = Item(values={0x00281050: b"40", 0x00281051: b"400 "}, sequences={0x00283010: [lut_item(0, 8, 0, 255)]})
    assert isinstance(read_voi(item, signed=False), Lut)
    assert read_voi(Item(values=item.values), signed=False) == Window(40, 400)


def test_modality_before_voi_and_inversion_last():
    grayscale = Grayscale((2.0, -100.0), Window(0, 200, "LINEAR_EXACT"), None, inverse=True)
    # 0, 50 and 100 are -100, 0 and 100: black, middle and white; turned round.
    assert grayscale.shade(np.array([0, 50, 100])).tolist() == [255, 128, 0]


def test_rescaling_with_half_of_it_missing():
    assert read_modality(Item(values={0x00281052: b"-1024 "}), signed=False) == (1.0, -1024.0)
    assert read_modality(Item(), signed=False) is None


def test_segments_discrete_linear_and_indirect():
    # 2 values 10, 20; 4 steps to 60; the first segment again (at byte 0).
    data = np.array([0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0], np.uint16)
    assert expand_segments(data).tolist() == [10, 20, 30, 40, 50, 60, 10, 20]


@pytest.mark.parametrize("segments", [[0, 5, 1], [1, 4, 60], [7, 1, 1], [2, 1, 8, 0, 2, 1, 0, 0]])
def test_impossible_segments_are_refused(segments):
    with pytest.raises(NotAcceptable):
        expand_segments(np.array(segments, np.uint16))


def test_ybr_is_turned_into_colours():
    ybr = np.array([[[76, 85, 255], [255, 128, 128], [0, 128, 128]]], np.uint8)  # red, white, black
    assert np.abs(from_ybr(ybr).astype(int) - [[[254, 0, 0], [255, 255, 255], [0, 0, 0]]]).max() <= 1


def test_halved_chrominance_is_of_two_pixels():
    assert from_native_422(bytes([1, 2, 3, 4]), 1, 2).tolist() == [[[1, 3, 4], [2, 3, 4]]]


def test_an_overlay_lies_at_its_origin_and_is_cut_at_the_edges():
    item = Item(
        values={
            0x60000010: words(2),
            0x60000011: words(2),
            0x60000050: struct.pack("<2h", 2, 0),  # second row, one column before the first
            0x60003000: b"\x0f\x00",
        }
    )
    ((group, mask),) = read_overlays(item, 1, (3, 3), None)
    assert group == 0x6000
    assert mask.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_an_overlay_in_the_bits_of_the_pixels():
    item = Item(values={0x60000102: words(12)})
    ((group, mask),) = read_overlays(item, 1, (1, 2), np.array([[0x1000, 0x0FFF]], "<u2"))
    assert group == 0x6000
    assert mask.tolist() == [[True, False]]
