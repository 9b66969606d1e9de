"""Data sets written by pydicom in every encoding come back from our reader as pydicom itself would say them."""

import io
import string
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID

from drimbox.dicom.json_model import read_metadata
from drimbox.dicom.match import criterion, satisfies
from drimbox.dicom.part10 import InMemory
from drimbox.dicom.scan import INDEXED, scan

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{suffix}" for suffix in ("", ".1", ".2", ".1.99"))

word = st.text(string.ascii_letters + string.digits + "é_-^àöß", min_size=1, max_size=12)
code = st.text(string.ascii_uppercase + string.digits + "_", min_size=1, max_size=12)
uid = st.lists(st.integers(1, 10**6), min_size=2, max_size=6).map(lambda arcs: ".".join(map(str, arcs)))
date = st.dates().map(lambda day: day.strftime("%Y%m%d").zfill(8))


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One value, several, or none."""
    return st.one_of(values, st.lists(values, min_size=2, max_size=4), st.none())


# keyword -> value, of tags that are in the dictionary, so that implicit VR knows them too.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ImageType": some(code),
    "SOPInstanceUID": uid,
    "StudyDate": date,
    "AccessionNumber": word,
    "ReferringPhysicianName": word,
    "StudyDescription": some(word),
    "InstitutionAddress": word,
    "FailedSOPInstanceUIDList": some(uid),
    "SliceThickness": some(st.integers(-10_000, 10_000).map(lambda number: number / 64)),
    "InstanceNumber": some(st.integers(-(2**31), 2**31 - 1)),
    "FrameIncrementPointer": st.just(0x00181063),
    "Rows": st.integers(0, 65535),
    "SimpleFrameList": st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=5),
    "TagAngleSecondAxis": st.integers(-(2**15), 2**15 - 1),
    "DisplayedAreaTopLeftHandCorner": st.lists(st.integers(-(2**31), 2**31 - 1), min_size=2, max_size=2),
    "RecommendedDisplayFrameRateInFloat": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "ImagePositionVolume": st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    "EncapsulatedDocument": st.binary(max_size=40).map(lambda value: value + b"\0" * (len(value) % 2)),
}
SEQUENCES = ("ReferencedStudySequence", "RequestAttributesSequence", "ContentSequence")


@st.composite
def datasets(draw: st.DrawFn, depth: int = 3) -> Dataset:
    dataset = Dataset()
    for keyword in draw(st.sets(st.sampled_from(sorted(VALUES)), max_size=6)):
        setattr(dataset, keyword, draw(VALUES[keyword]))
    if depth:
        for keyword in draw(st.sets(st.sampled_from(SEQUENCES), max_size=2)):
            items = draw(st.lists(datasets(depth - 1), min_size=1, max_size=2))
            setattr(dataset, keyword, items)
            dataset[keyword].is_undefined_length = draw(st.booleans())
            for item in items:
                item.is_undefined_length_sequence_item = draw(st.booleans())
    return dataset


def written(dataset: Dataset, syntax: str) -> InMemory:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta = meta
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return InMemory(stream.getvalue())


def expected(model: dict[str, Any]) -> dict[str, Any]:
    """pydicom's JSON with the differences that `json_model` announces: plain VRs, ISO_IR 192."""
    found = {}
    for tag, element in model.items():
        found[tag] = {"vr": str(element["vr"])}
        for key in element.keys() - {"vr"}:
            value = element[key]
            found[tag][key] = [expected(item) for item in value] if element["vr"] == "SQ" else value
    if "00080005" in found:
        found["00080005"]["Value"] = ["ISO_IR 192"]
    return found


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dataset=datasets(),
    syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]),
    charset=st.sampled_from(["192", "100"]),
)
def test_json_model_is_what_pydicom_says(dataset: Dataset, syntax: str, charset: str) -> None:
    dataset.SpecificCharacterSet = f"ISO_IR {charset}"
    assert read_metadata(written(dataset, syntax), "") == expected(dataset.to_json_dict())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dataset=datasets(), syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
def test_what_is_indexed_is_what_the_header_says(dataset: Dataset, syntax: str) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2", "1.2.2"
    file = written(dataset, syntax)
    summary, metadata = scan(file), read_metadata(file, "")
    for level, described in (("study", summary.study), ("series", summary.series), ("instance", summary.instance)):
        indexed = {tag: metadata[tag] for tag in INDEXED[level] if tag in metadata and tag != "00400275"}  # type: ignore[index]
        assert {tag: element for tag, element in described.items() if tag != "00400275"} == indexed


@settings(deadline=None)
@given(word.filter(lambda name: name.strip("^") and "ß" not in name))  # ß folds to two letters
def test_a_name_matches_itself_and_its_beginnings(name: str) -> None:
    held = {"00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
    for asked in (name, name.upper(), name[:1] + "*", "*" + name[-1:], "?" + name[1:]):
        if asked.strip("^"):
            assert satisfies(criterion("00100010", asked), "00100010", held)
