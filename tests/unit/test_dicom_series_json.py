"""The JSON of slices given one after the other is, to the byte, that of each one alone."""

import io
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from drimbox.dicom import series_json
from drimbox.dicom.json_model import read_metadata
from drimbox.dicom.part10 import InMemory
from drimbox.dicom.scan import scan
from drimbox.dicom.series_json import SeriesJson
from drimbox.errors import DrimboxError

URL = "http://node/bulk/"


def slice_of(number: int, **other: object) -> Dataset:
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{1000 + number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    made.PatientName, made.PatientID = "Lefèvre^Zoé", "IPP1"
    made.Modality, made.StudyDescription = "CT", "Thorax"
    made.InstanceNumber, made.SliceLocation = 1000 + number, f"{100 + number}.5"
    reference, code = Dataset(), Dataset()
    reference.ReferencedSOPInstanceUID = f"1.2.3.{2000 + number}"
    code.CodeValue, code.CodeMeaning = "T-D3000", "Thorax"
    reference.PurposeOfReferenceCodeSequence = [code]
    made.ReferencedImageSequence = [reference, Dataset()]
    made.RequestAttributesSequence = []
    made.Rows, made.Columns, made.BitsAllocated, made.PixelRepresentation = 4, 4, 16, 1
    made.SmallestImagePixelValue = -number - 1
    made.RedPaletteColorLookupTableData = bytes([number % 256]) * 1200  # told as bulk data
    for keyword, value in other.items():
        setattr(made, keyword, value)
    made.PixelData = bytes([number % 256]) * 32
    return made


def part10(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    if pydicom.uid.UID(syntax).is_encapsulated:
        made.PixelData = pydicom.encaps.encapsulate([made.PixelData[: 8 + int(made.InstanceNumber) % 2 * 2]])
        made["PixelData"].is_undefined_length = True
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def check(files: Iterable[bytes]) -> None:
    """Each as alone: the same text, or the same refusal."""
    series = SeriesJson()
    for number, file in enumerate(files):
        url = f"{URL}{number}"
        assert given_by(lambda file=file, url=url: series.text(InMemory(file), url, offset_of(file))) == given_by(
            lambda file=file, url=url: orjson.dumps(read_metadata(InMemory(file), url))
        )


def given_by(read: object) -> bytes | str:
    try:
        return read()  # type: ignore[operator,no-any-return]
    except DrimboxError as refusal:
        return f"{type(refusal).__name__} {refusal}"


def offset_of(file: bytes) -> int | None:
    try:
        return scan(InMemory(file)).pixel_data_offset
    except DrimboxError:
        return None


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each header that was walked from end to end."""
    walked: list[int] = []
    noted = series_json.Noted

    def note(reader: object) -> object:
        walked.append(1)
        return noted(reader)  # type: ignore[arg-type]

    monkeypatch.setattr(series_json, "Noted", note)
    return walked


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
def test_slices_that_differ_in_values_are_walked_once(syntax: str, walks: list[int]) -> None:
    check(part10(slice_of(number), syntax) for number in range(20))
    assert len(walks) == 1


def test_big_endian_is_walked_each_time(walks: list[int]) -> None:
    made = [slice_of(number) for number in range(3)]
    for one in made:
        del one.RedPaletteColorLookupTableData
    check(part10(one, ExplicitVRBigEndian) for one in made)
    assert len(walks) == 3


def test_each_length_of_a_value_is_walked_once(walks: list[int]) -> None:
    check(part10(slice_of(n, SliceLocation=("9", "10.25")[n % 2], SeriesDescription="x" * n)) for n in (1, 2, 1, 2, 1))
    assert len(walks) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"SpecificCharacterSet": "ISO_IR 192"},
        {"PixelRepresentation": 0, "SmallestImagePixelValue": 40000},
        {"StudyDescription": "Tête"},
        {"ReferencedImageSequence": []},
        {"RequestAttributesSequence": [Dataset()]},
        {"InstanceNumber": 7},
        {"PatientName": ""},
        {"DataSetTrailingPadding": b"\0\0"},
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
def test_what_is_different_in_one_slice_is_told_of_it_alone(other: dict[str, object], syntax: str) -> None:
    usual, special = part10(slice_of(1), syntax), part10(slice_of(2, **other), syntax)
    check([usual, special, usual, part10(slice_of(3), syntax), special])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2**32 - 1)), min_size=2, max_size=12))
def test_whatever_bytes_are_changed_it_is_told_as_alone(cases: Sequence[tuple[int, int]]) -> None:
    files = []
    for number, seed in cases:
        file, draw = bytearray(part10(slice_of(number))), random.Random(seed)
        for _ in range(draw.choice((0, 1, 3))):
            file[draw.randrange(400, len(file))] = draw.choice((0, 1, 32, 65, draw.randrange(256)))
        files.append(bytes(file[: len(file) - draw.choice((0, 0, 0, 1, 20))] + b"\0" * draw.choice((0, 0, 8))))
    check(files)


def test_files_of_all_kinds_one_after_the_other() -> None:
    paths = Path(pydicom.data.__file__).parent.joinpath("test_files").rglob("*.dcm")
    files = [path.read_bytes() for path in sorted(paths) if path.stat().st_size < 2**20]
    assert len(files) > 50
    check([file for one in files for file in (one, one)])
