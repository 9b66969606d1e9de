"""The two checksums of kept bytes, by libraries that use what the processor has: both cost less than a copy.

`crc32` is that of a frame (IEEE 802.3, as zlib's, thirty times faster). `Digest` is that of a whole data set: XXH3 of
128 bits. It finds damage; it is no proof against somebody who wants two data sets to look the same, so where that would
matter the bytes are compared.
"""

from isal.isal_zlib import crc32
from xxhash import xxh3_128 as Digest

__all__ = ["DIGEST_BYTES", "Digest", "crc32"]

DIGEST_BYTES = 16
