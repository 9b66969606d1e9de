"""From a file to the reader of its data set, whatever the transfer syntax."""

from dataclasses import dataclass

from drimbox.dicom.deflate import Inflated
from drimbox.dicom.elements import ElementReader, Limits
from drimbox.dicom.part10 import Preface, Readable, read_preface
from drimbox.dicom.uid import TRANSFER_SYNTAXES, TransferSyntax


@dataclass(frozen=True, slots=True)
class DataSet:
    """An open data set. source: the file, inflated if it was deflated; offsets of `reader` are offsets in it."""

    source: Readable
    preface: Preface
    syntax: TransferSyntax
    reader: ElementReader


def open_data_set(file: Readable, limits: Limits, wanted: frozenset[int] | None = None) -> DataSet:
    """Read the preface of a file and make its data set ready to be walked once. Raises Malformed, TooLarge.

    wanted: see `ElementReader`. A transfer syntax we do not know is private: explicit VR little endian, as PS3.5 §10.1
    has all encapsulated ones; if that is wrong about the VRs, the reader sees it at the first element.
    """
    preface = file.preface or read_preface(file)
    syntax = TRANSFER_SYNTAXES.get(preface.transfer_syntax) or TransferSyntax(preface.transfer_syntax, "Private")
    source = Inflated(file, preface, limits) if syntax.deflated else file
    reader = ElementReader(
        source,
        preface.data_set_offset,
        explicit=syntax.explicit,
        little_endian=syntax.little_endian,
        limits=limits,
        wanted=wanted,
    )
    return DataSet(source, preface, syntax, reader)
