"""The manifest we write: judged by dciodvfy, and read by pydicom and highdicom, which share no code with the writer."""

import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta, timezone
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pydicom
import pytest
from manifests import BASE, CT, ECG, MANIFEST, SR

from drimbox.errors import Malformed, TooLarge
from drimbox.kos.build import build_manifest
from drimbox.kos.content import value_type
from drimbox.kos.manifest import MAX_INSTANCES, Manifest, ManifestInstance, new_uid
from drimbox.model import Identifier


def dataset(manifest: Manifest = MANIFEST, **options: str) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(build_manifest(manifest, **options)))  # type: ignore[arg-type]


def test_the_document_is_a_manifest_of_tid_2010():
    kos = dataset()
    assert kos.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert kos.file_meta.MediaStorageSOPInstanceUID == kos.SOPInstanceUID == MANIFEST.uid
    assert kos.file_meta.MediaStorageSOPClassUID == kos.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"
    assert (kos.Modality, kos.ValueType, kos.ContinuityOfContent) == ("KO", "CONTAINER", "SEPARATE")
    title = kos.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113030", "DCM", "Manifest")
    assert kos.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert len(kos.ReferencedPerformedProcedureStepSequence) == 0
    assert (kos.SeriesNumber, kos.InstanceNumber, kos.SeriesInstanceUID) == (59, 2, MANIFEST.series_uid)


def test_dates_carry_their_true_offset():
    kos = dataset()
    assert kos.TimezoneOffsetFromUTC == "+0100"
    for moment in ("InstanceCreation", "Series", "Content"):
        assert (kos[moment + "Date"].value, kos[moment + "Time"].value) == ("20260102", "111700.000250")
    west = replace(MANIFEST, created=MANIFEST.created.astimezone(timezone(timedelta(hours=-3, minutes=-30))))
    assert dataset(west).TimezoneOffsetFromUTC == "-0330"
    assert dataset(west).ContentTime == "064700.000250"


def test_the_patient_is_the_ins_and_its_traits():
    kos = dataset()
    assert (kos.PatientID, kos.IssuerOfPatientID) == ("268019911122233", "ASIP-SANTE-INS-NIR")
    qualifiers = kos.IssuerOfPatientIDQualifiersSequence[0]
    assert (qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType) == ("1.2.250.1.213.1.4.10", "ISO")
    assert str(kos.PatientName) == "INVENTEE^ZOE"
    assert [str(name) for name in kos.OtherPatientNames] == ["^ZOE ANNE", "INVENTEE-DURAND^ZOE"]
    assert (kos.PatientBirthDate, kos.PatientSex, kos.PatientComments) == ("19680101", "F", "2A004")
    (other,) = kos.OtherPatientIDsSequence
    assert (other.PatientID, other.TypeOfPatientID) == ("268019911122233", "TEXT")
    assert other.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "1.2.250.1.213.1.4.10"


@pytest.mark.parametrize(
    ("family", "given", "expected"),
    [("DURAND", "ZOE", "DURAND^ZOE"), ("DURAND", "", "DURAND"), ("", "ZAZIE", "^ZAZIE"), ("", "", None)],
)
def test_the_four_variants_of_the_used_name(family, given, expected):
    patient = replace(MANIFEST.patient, birth_given_names="", used_family=family, used_given=given)
    name = dataset(replace(MANIFEST, patient=patient)).get("OtherPatientNames")
    assert (str(name) if name is not None else None) == expected


def test_the_institution_is_written_as_xon():
    assert dataset().InstitutionName == "Centre d'imagerie Beta^^^^^^^^^101235555"
    long = dataset(replace(MANIFEST, institution="Centre ^ " * 20)).InstitutionName
    assert long.endswith("^^^^^^^^^101235555") and len(long) <= 64 and long.count("^") == 9


def test_the_request_has_every_attribute_of_the_samples():
    kos = dataset()
    (request,) = kos.ReferencedRequestSequence
    assert kos.AccessionNumber == ""
    assert (request.AccessionNumber, request.PlacerOrderNumberImagingServiceRequest) == ("ACN101", "OPN101")
    assert request.IssuerOfAccessionNumberSequence[0].UniversalEntityID == "1.2.250.1.999.5"
    assert request.OrderPlacerIdentifierSequence[0].UniversalEntityID == "1.2.250.1.999.6"
    assert request.StudyInstanceUID == MANIFEST.study_uid
    for empty in ("RequestedProcedureDescription", "RequestedProcedureID", "FillerOrderNumberImagingServiceRequest"):
        assert request[empty].value == ""
    assert len(request.ReferencedStudySequence) == len(request.RequestedProcedureCodeSequence) == 0


def test_the_evidence_says_where_to_fetch_what():
    (study,) = dataset().CurrentRequestedProcedureEvidenceSequence
    first, second = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == MANIFEST.study_uid
    assert (first.SeriesInstanceUID, first.RetrieveURL) == ("1.2.250.1.999.3.1", f"{BASE}/1.2.250.1.999.3.1")
    assert "RetrieveAETitle" not in first and first.SeriesNumber == 1 and "SeriesNumber" not in second
    assert [item.get("InstanceNumber") for item in first.ReferencedSOPSequence] == [1, 2]
    assert [item.get("NumberOfFrames") for item in second.ReferencedSOPSequence] == [8, None, None]


def test_the_content_describes_then_references_by_value_type():
    description, *references = dataset().ContentSequence
    assert description.ConceptNameCodeSequence[0].CodeValue == "113012"
    assert description.TextValue.split("\r") == [
        "Examen : TDM thorax à jeun",
        "Acte = Scanographie du thorax",
        "Série-1.2.250.1.999.3.1 : CT @ : Thorax 1 mm : poumon",
        "Série-1.2.250.1.999.3.2 : US @ :",
    ]
    assert [item.ValueType for item in references] == ["IMAGE", "IMAGE", "IMAGE", "WAVEFORM", "COMPOSITE"]
    assert {item.RelationshipType for item in references} == {"CONTAINS"}
    assert references[2].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.250.1.999.4.3"


def test_the_plain_profile_has_no_french_addition():
    kos = dataset(profile="xds-i")
    assert kos.AccessionNumber == "ACN101"
    assert "ReferencedRequestSequence" not in kos
    assert len(kos.ContentSequence) == 5
    series = kos.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert "SeriesNumber" not in series and "InstanceNumber" not in series.ReferencedSOPSequence[0]


@pytest.mark.parametrize(
    ("sop_class_uid", "expected"),
    [
        (CT, "IMAGE"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),  # Segmentation
        ("1.2.840.10008.5.1.4.1.1.481.2", "IMAGE"),  # RT Dose
        (ECG, "WAVEFORM"),
        (SR, "COMPOSITE"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "COMPOSITE"),  # Grayscale Softcopy Presentation State
        ("1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"),  # Encapsulated PDF
        ("1.2.840.10008.5.1.4.1.1.481.3", "COMPOSITE"),  # RT Structure Set
        ("1.2.840.10008.5.1.4.1.1.9", "COMPOSITE"),  # Standalone Curve, retired
        ("1.3.12.2.1107.5.9.1", "COMPOSITE"),  # private
    ],
)
def test_value_types(sop_class_uid, expected):
    assert value_type(sop_class_uid) == expected


@pytest.mark.parametrize("profile", ["drim", "xds-i"])
def test_dciodvfy_finds_no_error(profile, tmp_path: Path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    file = tmp_path / "kos.dcm"
    file.write_bytes(build_manifest(MANIFEST, profile))
    judged = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
    assert judged.returncode == 0
    assert "Error" not in judged.stdout + judged.stderr
    assert "KeyObjectSelectionDocument" in judged.stdout + judged.stderr


def test_highdicom_reads_it():
    highdicom = pytest.importorskip("highdicom", reason="highdicom has no release for this Python")
    first, second = MANIFEST.series
    known = tuple(item for item in second.instances if item.sop_class_uid != ECG)  # it has no class for WAVEFORM items
    kos = dataset(replace(MANIFEST, series=(first, replace(second, instances=known))))
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(kos)
    assert document.SOPInstanceUID == MANIFEST.uid
    assert document.resolve_reference("1.2.250.1.999.4.3") == (
        MANIFEST.study_uid,
        "1.2.250.1.999.3.2",
        "1.2.250.1.999.4.3",
    )


def test_the_same_manifest_gives_the_same_bytes():
    assert build_manifest(MANIFEST) == build_manifest(MANIFEST)


def test_reserved_characters_are_replaced_and_long_text_is_cut():
    patient = replace(MANIFEST.patient, family="DE^LA=TOUR\\\r\n", used_family="N" * 100)
    kos = dataset(replace(MANIFEST, patient=patient, study_description="A\\B\x00" + "é" * 100, study_date="2026-01-02"))
    assert str(kos.PatientName) == "DE LA TOUR^ZOE"
    assert kos.StudyDescription == "A B " + "é" * 60
    assert len(str(kos.OtherPatientNames[1])) == 64
    assert kos.StudyDate == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"created": MANIFEST.created.replace(tzinfo=None)},
        {"series": ()},
        {"series": (replace(MANIFEST.series[0], instances=()),)},
        {"accession": Identifier("1234567890ABCDEFG", "1.2")},
        {"order": Identifier("A\\B", "1.2")},
        {"patient": replace(MANIFEST.patient, ins=None)},
    ],
    ids=["no time zone", "no series", "empty series", "accession too long", "order with a backslash", "no identifier"],
)
def test_what_cannot_be_a_manifest_is_malformed(wrong):
    with pytest.raises(Malformed):
        build_manifest(replace(MANIFEST, **wrong))


def test_the_number_of_instances_is_capped():
    many = tuple(ManifestInstance(CT, f"1.2.{number}") for number in range(MAX_INSTANCES + 1))
    with pytest.raises(TooLarge):
        build_manifest(replace(MANIFEST, series=(replace(MANIFEST.series[0], instances=many),)))


def test_uids_are_made_of_uuids():
    # PS3.5 §B.2 gives this very example.
    assert (
        new_uid("2.25", UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")) == "2.25.329800735698586629295641978511506172918"
    )
    assert new_uid("1.2.250.1.999.8", UUID(int=7)) == "1.2.250.1.999.8.7"
    with pytest.raises(Malformed):
        new_uid("1.2.250.1.999." + "1" * 30, UUID(int=2**128 - 1))
