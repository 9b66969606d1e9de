"""JSON arrays joined in gzip: what zlib makes of them, and CRC-32 of joined texts against zlib's of the whole."""

import gzip
import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drimbox.dicom.packed_json import GzipArray, Packed, Packer, gzip_length, inflate, joined_crc32


def packed(*items: object) -> Packed:
    packer = Packer()
    for item in items:
        packer.add(orjson.dumps(item))
    return packer.packed()


def joined(parts: list[Packed]) -> bytes:
    array = GzipArray()
    pieces = [piece for part in parts for piece in array.add(part)]
    return b"".join([*pieces, *array.end()])


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_parts_become_one_array_in_one_gzip_member(count: int) -> None:
    items = [[{"a": n, "long": "x" * 3000}, n] for n in range(count)]
    whole = joined([packed(*item) for item in items])
    assert orjson.loads(gzip.decompress(whole)) == [one for item in items for one in item]
    assert gzip_length([packed(*item) for item in items]) == len(whole)
    one_member = zlib.decompressobj(31)
    one_member.decompress(whole)
    assert one_member.eof
    assert one_member.unused_data == b""


def test_items_are_inflated_in_pieces() -> None:
    part = packed("é" * 3_000_000, 2)
    pieces = list(inflate(part))
    assert max(map(len, pieces)) <= 2**20
    text = b"".join(pieces)
    assert text == b'"' + "é".encode() * 3_000_000 + b'",2'
    assert (part.text_bytes, part.crc32) == (len(text), zlib.crc32(text))


@given(st.binary(), st.binary())
def test_the_crc_of_joined_texts_is_that_of_the_whole(first: bytes, second: bytes) -> None:
    assert joined_crc32(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_the_crc_of_a_long_text() -> None:
    second = bytes(range(256)) * 40_000
    assert joined_crc32(zlib.crc32(b"a"), zlib.crc32(second), len(second)) == zlib.crc32(b"a" + second)
