"""The three profiles of the manifest: of what studies are made of, key images, the Image Library, character sets."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from manifests import MANIFEST
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset

from drimbox.errors import Malformed
from drimbox.kos.build import PROFILES, build_manifest
from drimbox.kos.manifest import KeySelection, Manifest, ManifestInstance, ManifestSeries
from drimbox.kos.read import read_manifest
from drimbox.kos.rewrite import manifest_in_profile, rewrite_manifest
from drimbox.kos.selection import find_selection
from drimbox.model import Code, Identifier

KOS = "1.2.840.10008.5.1.4.1.1.88.59"
OF_INTEREST = Code("113000", "DCM", "Of Interest")
HEAD = Code("69536005", "2.16.840.1.113883.6.96", "tête")

# What a study may hold: its modality and SOP class, and how TID 2010 references it.
STUDIES = {
    "CT": ("CT", "1.2.840.10008.5.1.4.1.1.2", "IMAGE"),
    "MR": ("MR", "1.2.840.10008.5.1.4.1.1.4", "IMAGE"),
    "enhanced MR": ("MR", "1.2.840.10008.5.1.4.1.1.4.1", "IMAGE"),
    "US multi-frame": ("US", "1.2.840.10008.5.1.4.1.1.3.1", "IMAGE"),
    "PET": ("PT", "1.2.840.10008.5.1.4.1.1.128", "IMAGE"),
    "SR": ("SR", "1.2.840.10008.5.1.4.1.1.88.33", "COMPOSITE"),
    "SEG": ("SEG", "1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
    "ECG": ("ECG", "1.2.840.10008.5.1.4.1.1.9.1.1", "WAVEFORM"),
    "PDF": ("DOC", "1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"),
    "GSPS": ("PR", "1.2.840.10008.5.1.4.1.1.11.1", "COMPOSITE"),
}


def study(kind: str) -> Manifest:
    """A study of one series of that kind, with key images chosen among them."""
    modality, sop_class, _ = STUDIES[kind]
    base = "https://db1.example.test/rs/studies/1.2.250.1.999.2.101/series"
    images = ManifestSeries(
        "1.2.250.1.999.3.1", modality, 1, "série", f"{base}/1.2.250.1.999.3.1",
        (ManifestInstance(sop_class, "1.2.250.1.999.4.1", 1, 12), ManifestInstance(sop_class, "1.2.250.1.999.4.2", 2)),
        date="20260102", time="102501",
    )  # fmt: skip
    key = ManifestSeries(
        "1.2.250.1.999.3.9", "KO", 9, "", f"{base}/1.2.250.1.999.3.9",
        (ManifestInstance(KOS, "1.2.250.1.999.4.9", 1),),
    )  # fmt: skip
    selection = KeySelection(
        key.series_uid, "1.2.250.1.999.4.9", OF_INTEREST, "Nodule à revoir", ("1.2.250.1.999.4.2",)
    )
    return replace(
        MANIFEST, series=(images, key), selections=(selection,), regions=(HEAD,), location_uid="1.2.250.1.999.9"
    )


def dataset(manifest: Manifest, profile: str = "drim") -> Dataset:
    return pydicom.dcmread(BytesIO(build_manifest(manifest, profile)))  # type: ignore[arg-type]


def judged(file: Path) -> tuple[int, list[str]]:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    ran = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
    return ran.returncode, [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("profile", ["xds-i", "drim"])
@pytest.mark.parametrize("kind", STUDIES)
def test_dciodvfy_finds_no_error_in_any_study(kind: str, profile: str, tmp_path: Path) -> None:
    file = tmp_path / "kos.dcm"
    file.write_bytes(build_manifest(study(kind), profile))  # type: ignore[arg-type]
    assert judged(file) == (0, [])


@pytest.mark.parametrize("kind", STUDIES)
def test_dciodvfy_finds_in_mado_only_what_mado_adds_to_dicom(kind: str, tmp_path: Path) -> None:
    """NUM, DATE and TIME come to the KOS with CP-2595; of IHE's own sample it says the same."""
    file = tmp_path / "kos.dcm"
    file.write_bytes(build_manifest(study(kind), "mado"))
    _, errors = judged(file)
    added = [line for line in errors if line.endswith(("value = <NUM>", "value = <DATE>", "value = <TIME>"))]
    assert errors == added


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", [kind for kind in STUDIES if kind != "ECG"])  # it has no class for WAVEFORM items
def test_highdicom_reads_it(kind: str, profile: str) -> None:
    highdicom = pytest.importorskip("highdicom", reason="highdicom has no release for this Python")
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(dataset(study(kind), profile))
    assert document.resolve_reference("1.2.250.1.999.4.2") == (
        MANIFEST.study_uid, "1.2.250.1.999.3.1", "1.2.250.1.999.4.2",
    )  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", STUDIES)
def test_each_instance_has_the_value_type_of_its_class(kind: str, profile: str) -> None:
    references = [item for item in dataset(study(kind), profile).ContentSequence if "ReferencedSOPSequence" in item]
    assert [item.ValueType for item in references] == [STUDIES[kind][2]] * 2 + ["COMPOSITE"]


# --- DRIM-M: key images ---------------------------------------------------------------------------------------------


def test_a_key_image_names_who_points_at_it() -> None:
    """Nested in its reference, with the attributes of `informatif/KIN/Manifest_KOS.xml`."""
    (evidence,) = dataset(study("CT")).CurrentRequestedProcedureEvidenceSequence
    images, key = evidence.ReferencedSeriesSequence
    first, second = images.ReferencedSOPSequence
    assert "ReferencedSOPSequence" not in first
    (pointed,) = second.ReferencedSOPSequence
    assert pointed.ReferencedSOPInstanceUID == key.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert pointed.SeriesInstanceUID == key.SeriesInstanceUID
    (title,) = pointed.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == ("113000", "DCM", "Of Interest")
    assert pointed.ContentSequence[0].TextValue == "Nodule à revoir"
    assert images.RetrieveLocationUID == "1.2.250.1.999.9"


def test_key_images_are_read_back_and_of_the_official_shape_too() -> None:
    manifest = study("CT")
    assert read_manifest(build_manifest(manifest)).selections == manifest.selections
    sample = dataset(manifest)
    second = sample.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[1]
    del second.ReferencedSOPSequence[0].ReferencedSOPClassUID  # the official sample has none there
    written = BytesIO()
    sample.save_as(written)
    assert read_manifest(written.getvalue()).selections == manifest.selections


def selection_note(title: str = "113000", text: str = "Nodule à revoir") -> bytes:
    """A KIN as a viewer makes it."""
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID, note.SeriesInstanceUID = KOS, "1.2.250.1.999.4.9", "1.2.250.1.999.3.9"
    note.SpecificCharacterSet = "ISO_IR 192"
    concept = Dataset()
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = title, "DCM", "Of Interest"
    note.ConceptNameCodeSequence = [concept]
    told, pointed, reference = Dataset(), Dataset(), Dataset()
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "113012", "DCM", "Key Object Description"
    told.ConceptNameCodeSequence, told.TextValue = [name], text
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = STUDIES["CT"][1], "1.2.250.1.999.4.2"
    pointed.ValueType, pointed.ReferencedSOPSequence = "IMAGE", [reference]
    note.ContentSequence = [told, pointed, pointed]
    note.file_meta = FileMetaDataset()
    note.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    note.file_meta.MediaStorageSOPClassUID, note.file_meta.MediaStorageSOPInstanceUID = KOS, note.SOPInstanceUID
    written = BytesIO()
    note.save_as(written, enforce_file_format=True)
    return written.getvalue()


def test_a_selection_is_read_and_neither_a_manifest_nor_a_rejection_is_one() -> None:
    assert find_selection(selection_note()) == study("CT").selections[0]
    assert find_selection(selection_note("113001")) is None
    assert find_selection(build_manifest(MANIFEST)) is None
    assert find_selection(build_manifest(MANIFEST, "mado")) is None
    with pytest.raises(Malformed):
        find_selection(b"no DICOM")


# --- MADO -----------------------------------------------------------------------------------------------------------


def concept(item: Dataset) -> tuple[str, str]:
    return item.ConceptNameCodeSequence[0].CodeValue, item.ConceptNameCodeSequence[0].CodingSchemeDesignator


def test_mado_has_an_image_library_as_the_trial_implementation_says() -> None:
    kos = dataset(study("US multi-frame"), "mado")
    assert concept(kos) == ("MADOTEMP001", "99IHE")
    assert kos.SpecificCharacterSet == "ISO_IR 192"
    assert (kos.AccessionNumber, kos.IssuerOfAccessionNumberSequence[0].UniversalEntityID) == (
        "ACN101", "1.2.250.1.999.5",
    )  # fmt: skip
    library, *references = kos.ContentSequence
    assert len(references) == 3
    assert (library.ValueType, library.RelationshipType, concept(library)) == (
        "CONTAINER", "CONTAINS", ("111028", "DCM"),
    )  # fmt: skip
    *context, images, key = library.ContentSequence
    assert {item.RelationshipType for item in context} == {"HAS ACQ CONTEXT"}
    assert [(concept(item)[0], item.ValueType) for item in context] == [
        ("121139", "CODE"), ("121139", "CODE"), ("123014", "CODE"), ("MADOTEMP009", "NUM"),
    ]  # fmt: skip
    region = context[2].ConceptCodeSequence[0]
    assert (region.CodeValue, region.CodingSchemeDesignator) == ("69536005", "SCT")
    measured = context[3].MeasuredValueSequence[0]
    assert (measured.NumericValue, measured.MeasurementUnitsCodeSequence[0].CodeValue) == (2, "{series}")

    assert concept(images) == ("126200", "DCM")
    described = {concept(item)[0]: item for item in images.ContentSequence if "ConceptNameCodeSequence" in item}
    assert described.keys() == {
        "121139", "MADOTEMP003", "MADOTEMP004", "MADOTEMP002", "113607", "112002", "MADOTEMP007",
    }  # fmt: skip
    assert described["MADOTEMP003"].Date == "20260102"
    assert described["MADOTEMP004"].Time == "102501"
    assert described["113607"].TextValue == "1"
    assert described["112002"].UID == "1.2.250.1.999.3.1"
    assert described["MADOTEMP007"].MeasuredValueSequence[0].NumericValue == 2

    first, _ = (item for item in images.ContentSequence if "ReferencedSOPSequence" in item)
    assert [(concept(item)[0], item.ValueType) for item in first.ContentSequence] == [
        ("121140", "NUM"), ("113609", "TEXT"),
    ]  # fmt: skip
    (entry,) = (item for item in key.ContentSequence if "ReferencedSOPSequence" in item)
    told = {concept(item)[0]: item for item in entry.ContentSequence}
    assert told["121144"].ConceptCodeSequence[0].CodeValue == "113000"
    assert told["113012"].TextValue == "Nodule à revoir"

    (evidence,) = kos.CurrentRequestedProcedureEvidenceSequence
    series = evidence.ReferencedSeriesSequence[0]
    assert (series.RetrieveURL, series.RetrieveLocationUID) == ("https://db1.example.test/rs", "1.2.250.1.999.9")
    assert "InstanceNumber" not in series.ReferencedSOPSequence[0]


def test_mado_is_read_back() -> None:
    manifest = study("US multi-frame")
    read = read_manifest(build_manifest(manifest, "mado"))
    described = tuple(replace(series, retrieve_url="https://db1.example.test/rs") for series in manifest.series)
    assert read.series == described
    assert read.regions == (Code("69536005", "SCT", "tête"),)
    assert read.location_uid == "1.2.250.1.999.9"
    # It tells which object points at images, and why; which images, only that object knows.
    assert read.selections == (replace(manifest.selections[0], images=()),)
    assert read.accession == manifest.accession


def test_a_published_manifest_is_written_in_another_profile() -> None:
    published = build_manifest(study("CT"))
    kos = rewrite_manifest(published, "mado", uid="2.25.7", series_uid="2.25.8", created=MANIFEST.created)
    read, before = read_manifest(kos), read_manifest(published)
    assert (read.uid, read.series_uid, read.patient, read.accession) == (
        "2.25.7", "2.25.8", before.patient, before.accession,
    )  # fmt: skip
    assert [series.instances for series in read.series] == [series.instances for series in before.series]


def test_a_profile_of_a_published_manifest_is_the_same_document_each_time() -> None:
    published = build_manifest(study("CT"))
    assert manifest_in_profile(published, "drim") is published
    kos = manifest_in_profile(published, "mado")
    assert kos == manifest_in_profile(published, "mado")
    others = [published, kos, manifest_in_profile(published, "xds-i")]
    assert len({uid for each in map(read_manifest, others) for uid in (each.uid, each.series_uid)}) == 6


# --- Character sets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "charset"),
    [
        ({}, "ISO_IR 100"),  # accents: what the official samples have
        ({"act": "Œsophage"}, "ISO_IR 192"),
        ({"manufacturer": "DRIMbox €"}, "ISO_IR 192"),
        ({"institution": "Centre 漢"}, "ISO_IR 192"),
        ({"patient": replace(MANIFEST.patient, used_family="ČECH")}, "ISO_IR 192"),
        ({"study_description": "Ã©"}, "ISO_IR 192"),  # in Latin-1 it would be right UTF-8 for something else
        ({"order": Identifier("1", "1.2", "Œ")}, "ISO_IR 192"),
    ],
)
def test_the_character_set_is_the_smallest_that_says_everything(changes: dict[str, object], charset: str) -> None:
    manifest = replace(MANIFEST, **changes)
    kos = dataset(manifest)
    assert kos.SpecificCharacterSet == charset
    assert kos.StudyDescription == manifest.study_description
    read = read_manifest(build_manifest(manifest))
    assert (read.study_description, read.act, read.institution, read.patient.used_family) == (
        manifest.study_description, manifest.act, manifest.institution, manifest.patient.used_family,
    )  # fmt: skip
