"""The attributes of an instance up to its pixels, nested, for what draws it. Bounded. Pure."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drimbox.dicom.data_set import DataSet
from drimbox.dicom.elements import ITEM, PIXELS, UNDEFINED

_MOST_VALUE_BYTES: Final = 16 * 2**20  # an ICC profile, overlays of many frames
_MOST_BYTES: Final = 64 * 2**20
_ORDERS = {True: "<", False: ">"}


@dataclass(slots=True)
class Item:
    """One level of attributes: the values as they are written, and sequences of items."""

    little_endian: bool = True
    values: dict[int, bytes] = field(default_factory=dict)
    sequences: dict[int, list["Item"]] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """The value as one text, "" when absent. For code strings and numbers: not decoded by character set."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \x00")

    def texts(self, tag: int) -> list[str]:
        """The values of a text with several."""
        found = self.text(tag)
        return [one.strip() for one in found.split("\\")] if found else []

    def decimals(self, tag: int) -> list[float]:
        """The values of a DS or an IS; those that are no number are left out."""
        found = []
        for one in self.texts(tag):
            try:
                value = float(one)
            except ValueError:
                continue
            if np.isfinite(value):
                found.append(value)
        return found

    def numbers(self, tag: int, code: str = "H") -> list[int | float]:
        """The binary values, of this `struct` code."""
        value = self.values.get(tag, b"")
        count = len(value) // struct.calcsize("=" + code)
        return list(struct.unpack_from(f"{_ORDERS[self.little_endian]}{count}{code}", value))

    def number(self, tag: int, default: int = 0, code: str = "H") -> int:
        """The first binary value."""
        found = self.numbers(tag, code)
        return int(found[0]) if found else default

    def words(self, tag: int) -> NDArray[np.uint16]:
        """The value as 16-bit words."""
        value = self.values.get(tag, b"")
        return np.frombuffer(value[: len(value) // 2 * 2], f"{_ORDERS[self.little_endian]}u2").astype("<u2")

    def items(self, tag: int) -> Sequence["Item"]:
        """The items of a sequence; none when it is absent."""
        return self.sequences.get(tag, ())

    def first(self, *tags: int) -> "Item":
        """The first item of the first item ... of these sequences; an empty one when there is none."""
        here = self
        for tag in tags:
            found = here.items(tag)
            if not found:
                return Item()
            here = found[0]
        return here


def read_header(data_set: DataSet) -> Item:
    """Read all up to the pixels. Values of more than 16 MiB, and those beyond 64 MiB, are left out."""
    root = Item(data_set.syntax.little_endian)
    levels = [root]
    lists: list[list[Item]] = []
    left = _MOST_BYTES
    reader = data_set.reader
    for level, tag, vr, offset, length in reader:
        if tag == ITEM:
            item = Item(reader.little_endian)
            lists[level - 1].append(item)
            del levels[level:]
            levels.append(item)
            continue
        if level == 0 and tag in PIXELS:
            break
        here = levels[level]
        if vr == "SQ":
            del lists[level:]
            lists.append(here.sequences.setdefault(tag, []))
        elif length != UNDEFINED and length <= min(_MOST_VALUE_BYTES, left):
            here.values[tag] = reader.value(offset, length)
            left -= length
    return root
