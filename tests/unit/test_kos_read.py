"""Manifests of others: French, XDS-I.b, MADO, European drafts, faulty ones, hostile ones."""

import os
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom import DataElement
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sequence import Sequence

from drimbox.errors import DrimboxError, Malformed, TooLarge
from drimbox.kos.build import build_manifest
from drimbox.kos.document import MAX_BYTES
from drimbox.kos.manifest import Manifest, ManifestInstance, ManifestSeries
from drimbox.kos.read import is_selection_of_images, read_manifest
from drimbox.model import Identifier, Patient

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests/data/kos"
CT = "1.2.840.10008.5.1.4.1.1.2"
OURS = build_manifest(
    Manifest(
        uid="2.25.1",
        series_uid="2.25.2",
        study_uid="1.2.3",
        study_date="20260102",
        study_time="",
        study_description="",
        study_id="",
        referring_physician="",
        accession=None,
        order=None,
        patient=Patient(Identifier("268019911122233", "1.2.250.1.213.1.4.8"), None, "INVENTEE", "ZOE"),
        created=datetime(2026, 1, 2, tzinfo=UTC),
        institution="",
        structure_id="",
        manufacturer="",
        instance_number=1,
        act="",
        series=(ManifestSeries("1.2.3.1", "CT", None, "", "", (ManifestInstance(CT, "1.2.3.1.1"),)),),
    )
)


def changed(**attributes: object) -> bytes:
    """OURS with other top-level attributes; None removes one."""
    kos = pydicom.dcmread(BytesIO(OURS))
    for keyword, value in attributes.items():
        if value is None:
            del kos[keyword]
        else:
            tag = tag_for_keyword(keyword)
            assert tag is not None
            kos[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)
    file = BytesIO()
    kos.save_as(file)
    return file.getvalue()


def titled(code: str) -> bytes:
    title = pydicom.Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = code, "DCM", "x"
    return changed(ConceptNameCodeSequence=Sequence([title]))


def test_the_public_prototype():
    """12 errors in dciodvfy: dates as times, description outside the tree, implicit VR, RetrieveURL in two places."""
    manifest = read_manifest((DATA / "drimbox_kos.dcm").read_bytes())
    assert manifest.uid == "1.2.276.0.7230010.3.1.4.1332562220.14700.1670582576.438"
    assert manifest.study_uid == "2.16.840.1.113669.632.20.1211.10000231621"
    assert manifest.patient.ins == Identifier("248039263001064", "1.2.250.1.213.1.4.10", "ASIP-SANTE-INS-NIR")
    assert (manifest.patient.family, manifest.patient.used_family) == ("INCISIX", "INCISIX")
    assert manifest.study_description == "Tête^Dental (Adulte)"
    assert manifest.accession == Identifier("0901160050", "1.2.3.4.5.6")
    assert manifest.order == Identifier("1298989898", "1.2.3.4.5.6")
    assert manifest.created == datetime(2022, 12, 9, 11, 42, 56, tzinfo=UTC)
    (series,) = manifest.series
    assert (series.modality, series.description) == ("CT", "Dentascan  0.75  H60s")
    assert series.retrieve_url.startswith("http://localhost:8080/dcm4chee-arc/aets/AS_RECEIVED/rs/studies/2.16.840")
    assert series.instances == (ManifestInstance(CT, "1.2.276.0.7230010.3.1.4.8323329.4426.1666943459.930423"),)


def test_an_xds_i_manifest():
    manifest = read_manifest((DATA / "nist_4801_kos_modified.dcm").read_bytes())
    assert manifest.patient.ins is None
    assert manifest.patient.local_id == Identifier("IDS-DEPT001-a")
    assert (manifest.accession, manifest.order) == (Identifier("IDS001-a"), None)
    (series,) = manifest.series
    assert (series.modality, series.retrieve_url, len(series.instances)) == ("", "", 1)


def test_an_xds_i_manifest_of_several_series():
    manifest = read_manifest((DATA / "nist_2018-4801b_kos.dcm").read_bytes())
    expected = pydicom.dcmread(DATA / "nist_2018-4801b_kos.dcm")
    (study,) = expected.CurrentRequestedProcedureEvidenceSequence
    assert [(s.series_uid, len(s.instances)) for s in manifest.series] == [
        (s.SeriesInstanceUID, len(s.ReferencedSOPSequence)) for s in study.ReferencedSeriesSequence
    ]


@pytest.mark.parametrize("code", ["113001", "113037", "113038", "113039"])
def test_rejection_notes_are_no_manifests(code):
    with pytest.raises(Malformed, match="rejection"):
        read_manifest(titled(code))
    assert not is_selection_of_images(titled(code))


@pytest.mark.parametrize(
    ("data", "expected"),
    [(titled("113000"), True), (OURS, False), (titled("MADOTEMP001"), False), (b"garbage", False)],
)
def test_only_key_images_are_a_selection(data, expected):
    assert is_selection_of_images(data) is expected


def test_the_study_of_the_evidence_wins_over_that_of_the_object():
    """Some publishers file the KOS in a study of its own."""
    assert read_manifest(changed(StudyInstanceUID="1.2.99")).study_uid == "1.2.3"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Série-1.2.3.1 : MR @ : T2 Ax", ("MR", "T2 Ax")),
        ("Serie-1.2.3.1 : CT : Dental  : 2", ("CT", "Dental  : 2")),
        ("Acte = x\r\nSérie-1.2.3.1: MR@:", ("MR", "")),
        ("Série-1.2.3.9 : MR @ : other\nSérie-1.2.3.1", ("", "")),
    ],
)
def test_lines_of_the_description(lines, expected):
    kos = pydicom.dcmread(BytesIO(OURS))
    kos.ContentSequence[0].TextValue = lines
    (series,) = read_manifest(changed(ContentSequence=kos.ContentSequence)).series
    assert (series.modality, series.description) == expected


@pytest.mark.parametrize(
    ("names", "given_names", "used"),
    [
        (None, "", ("", "")),
        ("DURAND", "", ("DURAND", "")),
        ("DURAND^ZAZIE", "", ("DURAND", "ZAZIE")),
        ("^ZAZIE", "", ("", "ZAZIE")),
        ("^ZOE ANNE", "ZOE ANNE", ("", "")),
        ("^ZOELIE", "", ("", "ZOELIE")),
        (["^ZOE ANNE", "DURAND^ZAZIE"], "ZOE ANNE", ("DURAND", "ZAZIE")),
        (["^ZOE", "^ZAZIE"], "ZOE", ("", "ZAZIE")),
    ],
)
def test_other_names(names, given_names, used):
    patient = read_manifest(changed(OtherPatientNames=names) if names else OURS).patient
    assert patient.birth_given_names == given_names
    assert (patient.used_family, patient.used_given) == used


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"TimezoneOffsetFromUTC": "+0200"}, "2026-01-02T00:00:00+02:00"),
        ({"TimezoneOffsetFromUTC": None}, "2026-01-02T00:00:00+00:00"),
        ({"InstanceCreationDate": None, "ContentTime": "0821"}, "2026-01-02T08:21:00+00:00"),
        ({"InstanceCreationTime": "082100.5"}, "2026-01-02T08:21:00.500000+00:00"),
    ],
)
def test_creation(attributes, expected):
    assert read_manifest(changed(**attributes)).created.isoformat() == expected


def test_the_birth_place_is_an_insee_code_or_nothing():
    assert read_manifest(changed(PatientComments="2A004")).patient.birth_place == "2A004"
    assert read_manifest(changed(PatientComments="allergic to latex")).patient.birth_place == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage" * 100,
        OURS[:400],
        changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11"),
        changed(CurrentRequestedProcedureEvidenceSequence=None),
        changed(SOPInstanceUID="../../etc/passwd"),
        changed(InstanceCreationDate=None, ContentDate=None),
        (ROOT / "tests/data/hl7/report-two-exams.xml").read_bytes(),
    ],
    ids=["empty", "garbage", "cut", "other class", "no evidence", "unsafe UID", "no date", "XML"],
)
def test_what_is_no_manifest_is_malformed(data):
    with pytest.raises(Malformed):
        read_manifest(data)


def test_an_unsafe_uid_in_a_reference_is_malformed():
    with pytest.raises(Malformed):
        read_manifest(OURS.replace(b"1.2.3.1.1\0", b"1.2/../..\0"))


def test_size_and_counts_are_capped_before_anything_is_built():
    with pytest.raises(TooLarge):
        read_manifest(OURS + bytes(MAX_BYTES))
    with pytest.raises(TooLarge):
        read_manifest(OURS + b"\xfe\xff\x00\xe0\0\0\0\0" * 300_001)


def test_deflated_data_are_not_inflated():
    deflated = OURS.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99", 1)
    with pytest.raises(DrimboxError):
        read_manifest(deflated)


@pytest.mark.parametrize("depth", [50, 5_000])
def test_depth_is_an_error_not_a_crash(depth):
    """Content Sequence in Content Sequence, of undefined length."""
    opening = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    start = OURS.index(struct.pack("<HH2s", 0x0040, 0xA730, b"SQ"))
    with suppress(DrimboxError):
        read_manifest(OURS[:start] + opening * depth)


def test_every_truncation_is_read_or_refused():
    for length in range(0, len(OURS), 7):
        with suppress(DrimboxError):
            read_manifest(OURS[:length])


def test_no_warning_quotes_a_patient():
    """pydicom warns about values that do not fit their VR, with the value: none of its conversions may run."""
    wrong = replace(read_manifest(OURS), study_date="")
    data = OURS.replace(b"INVENTEE^ZOE", b"INV\\NTEE^ZOE").replace(b"20260102", b"2026ZZ02", 1)
    assert read_manifest(data).study_uid == wrong.study_uid


# --- Bigger sets, not redistributed ---------------------------------------------------------------------------------


def sample(name: str) -> bytes:
    """A file of the folder `data-fr` beside the one that DRIMBOX_TEST_DATA names."""
    folder = Path(os.environ.get("DRIMBOX_TEST_DATA", ROOT.parent / "shared/data")).parent / "data-fr"
    if not (folder / name).is_file():
        pytest.skip(f"the sample {name} is not here: DRIMBOX_TEST_DATA names no folder that has it beside it")
    return (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("mado-A", [("CT", 1, "Series A1", 50), ("CT", 2, "Series A2", 36)]),
        ("mado-B", [("CT", 1, "Series B1", 20), ("KO", 2, "Series B2 (Significant images)", 1)]),
    ],
)
def test_mado_describes_its_series_in_the_tree(name, series):
    manifest = read_manifest(sample(f"kos/{name}.dcm"))
    found = [(s.modality, s.number, s.description, len(s.instances)) for s in manifest.series]
    assert found[: len(series)] == series
    assert [item.number for item in manifest.series[0].instances[:3]] == [1, 2, 3]
    assert manifest.series[0].retrieve_url == "https://dicomserver.com/AET/rs/"
    assert manifest.accession is not None and manifest.accession.authority == "1.3.6.1.4.1.19376.1.1.100.2"


@pytest.mark.parametrize(
    ("name", "counts"),
    [("eu-3", [2]), ("eu-GK17285", [1]), ("eu-siemens", [1, 1]), ("prototype-not-conformant", [1])],
)
def test_european_drafts(name, counts):
    assert [len(series.instances) for series in read_manifest(sample(f"kos/{name}.dcm")).series] == counts


@pytest.mark.parametrize("name", ["2018-4801a", "2018-4801b", "2018-4801c"])
def test_nist_manifests_reference_what_pydicom_finds_in_them(name):
    folder = Path(os.environ.get("DRIMBOX_TEST_DATA", ROOT.parent / "shared/data"))
    file = folder / "objects/kos" / f"nist_{name}_kos.dcm"
    if not file.is_file():
        pytest.skip(f"{file.name} is not here: set DRIMBOX_TEST_DATA to the folder that has it")
    (study,) = pydicom.dcmread(file).CurrentRequestedProcedureEvidenceSequence
    expected = [
        item.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for item in s.ReferencedSOPSequence
    ]
    manifest = read_manifest(file.read_bytes())
    assert [item.sop_uid for series in manifest.series for item in series.instances] == expected
