"""Frames of one bit a pixel, which follow each other without a byte between them (PS3.5 §8.1.1, annex D). Pure."""


def cut_bits(window: bytes, skip_bits: int, bits: int) -> bytes:
    """The `bits` bits that come `skip_bits` (0 to 7) into `window`, lowest first, padded with zeros."""
    if skip_bits == 0 and bits % 8 == 0:
        return window[: bits // 8]
    value = (int.from_bytes(window, "little") >> skip_bits) & ((1 << bits) - 1)
    return value.to_bytes((bits + 7) // 8, "little")


class BitJoiner:
    """Puts frames back to back at the bit, for Pixel Data of a whole instance."""

    def __init__(self) -> None:
        self._carry = 0
        self._carry_bits = 0

    def add(self, frame: bytes, bits: int) -> bytes:
        """The whole bytes there are once `frame`, of `bits` bits, has come."""
        if not self._carry_bits and bits % 8 == 0:
            return frame
        total = self._carry_bits + bits
        value = self._carry | (int.from_bytes(frame, "little") & ((1 << bits) - 1)) << self._carry_bits
        self._carry_bits = total % 8
        self._carry = value >> (total - self._carry_bits)
        return (value & ((1 << (total - self._carry_bits)) - 1)).to_bytes(total // 8, "little")

    def end(self) -> bytes:
        """The last, unfinished byte, if any."""
        return bytes([self._carry]) if self._carry_bits else b""
