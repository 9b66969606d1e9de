"""The metadata of a manifest, against values worked by hand from the official French samples."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from drimbox.errors import Malformed
from drimbox.model import Code, Exam, Identifier, Patient, Professional, Report, Structure
from drimbox.xds.entry import (
    DocumentEntry,
    SubmissionSet,
    cx,
    describe_manifest,
    describe_signature,
    hl7_time_to_utc,
    read_cx,
    xcn,
    xon,
)

RPPS = "1.2.250.1.71.4.2.1"
SUBMITTED = datetime(2026, 7, 1, 10, 31, tzinfo=UTC)
INS = Identifier("269054958815780", "1.2.250.1.213.1.4.10")
SIGNER = Professional(Identifier("801234560801", RPPS), "MARTIN", "Claude")
AUTHOR = replace(SIGNER, specialty=Code("G15_10/SM44", "1.2.250.1.213.1.1.4.5", "Médecin - Radio-diagnostic (SM)"))
CENTRE = Structure(
    Identifier("1750803447", "1.2.250.1.71.4.2.2"),
    "Centre Exemple",
    sector=Code("SA08", "1.2.250.1.71.4.2.4", "Cabinet de groupe"),
    practice=Code("AMBULATOIRE", "1.2.250.1.213.1.1.4.9", "Ambulatoire"),
)
EXAM = Exam(
    "1.2.3",
    accession=Identifier("7252295367250016", "1.2.840.113619.6.196"),
    order=Identifier("12989855966", "1.2.250.1.213.4.5.2.6"),
    acts=(Code("24727-0", "2.16.840.1.113883.6.1", "CT Head"), Code("ACQH004", "1.2.250.1.215.300.1", "Scanner")),
    modalities=(Code("CT", "1.2.840.10008.2.16.4", "Tomodensitométrie"),),
    regions=(Code("774007", "2.16.840.1.113883.6.96", "tête ou cou"),),
    started="20210104092200+0100",
    stopped="202101041605",
)
REPORT = Report(
    message_id="m",
    message=b"",
    cda=b"",
    document_id=Identifier("1.2"),
    status="F",
    patient=Patient(
        INS, Identifier("IPP101", "1.2.250.1.213.4.5.2.4"), "PAT-SIX", "Alain", birth_date="19960124", sex="M",
        birth_place="51215",
    ),
    author=AUTHOR,
    author_structure=CENTRE,
    legal_authenticator=SIGNER,
    legal_structure=CENTRE,
    exams=(EXAM,),
)  # fmt: skip


def describe(report: Report = REPORT, exam: Exam = EXAM, modalities: tuple[str, ...] = ()) -> DocumentEntry:
    return describe_both(report, exam, modalities)[0]


def describe_both(
    report: Report = REPORT, exam: Exam = EXAM, modalities: tuple[str, ...] = ()
) -> tuple[DocumentEntry, SubmissionSet]:
    return describe_manifest(
        report,
        exam,
        kos=b"abc",
        unique_id="1.2.4",
        entry_uuid="urn:uuid:1",
        set_uid="1.2.5",
        set_entry_uuid="urn:uuid:2",
        created=datetime(2026, 7, 1, 12, 30, 15, 900, tzinfo=timezone(timedelta(hours=2))),
        submitted=SUBMITTED,
        source_id="1.2.250.1.213.4.5.9",
        modalities=modalities,
    )


def test_the_entry_says_what_the_official_samples_say() -> None:
    entry = describe()
    assert entry.hash == "a9993e364706816aba3e25717850c26c9cd0d89d"  # SHA-1 of "abc", FIPS 180
    assert entry.size_bytes == 3
    assert entry.mime_type == "application/dicom"
    assert entry.created == "20260701103015"
    assert entry.submitted == "20260701103100"
    assert entry.language == "fr-FR"
    assert entry.patient_id == "269054958815780^^^&1.2.250.1.213.1.4.10&ISO^NH"
    assert entry.source_patient_id == "IPP101^^^&1.2.250.1.213.4.5.2.4&ISO^PI"
    assert entry.source_patient_info == (
        "PID-5|PAT-SIX^Alain^^^^^L",
        "PID-7|19960124",
        "PID-8|M",
        "PID-11|^^^^^^BDL^^51215",
    )
    assert entry.legal_authenticator == "801234560801^MARTIN^Claude^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert entry.author.institution == "Centre Exemple^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1750803447"
    assert entry.author.specialty == "G15_10/SM44^Médecin - Radio-diagnostic (SM)^1.2.250.1.213.1.1.4.5"
    assert entry.title == "Reference d'Objets d'un Examen d'Imagerie"
    assert (entry.class_code.value, entry.class_code.scheme) == ("31", "1.2.250.1.213.1.1.4.1")
    assert (entry.type_code.value, entry.type_code.scheme) == ("IMG-KOS", "1.2.250.1.213.1.1.4.12")
    assert (entry.format_code.value, entry.format_code.scheme) == (
        "1.2.840.10008.5.1.4.1.1.88.59",
        "1.2.840.10008.2.6.1",
    )
    assert entry.facility_type.value == "SA08"
    assert entry.practice_setting.value == "AMBULATOIRE"
    assert [(code.value, code.scheme) for code in entry.confidentiality] == [("N", "2.16.840.1.113883.5.25")]
    assert (entry.service_start, entry.service_stop) == ("20210104082200", "202101041605")


def test_the_set_speaks_of_the_same_patient_and_author() -> None:
    entry, submission_set = describe_both()
    assert submission_set.patient_id == entry.patient_id
    assert submission_set.author == entry.author
    assert submission_set.unique_id == "1.2.5"
    assert submission_set.source_id == "1.2.250.1.213.4.5.9"
    assert submission_set.content_type.scheme == "1.2.250.1.213.2.2"


def test_the_structure_is_the_one_that_speaks_wherever_the_author_works() -> None:
    """DMP guide, EX_2.1-1140: an authorInstitution is the structure of the VIHF, that of the legal authenticator."""
    elsewhere = Structure(Identifier("1120456789", "1.2.250.1.71.4.2.2"), "Elsewhere", practice=CENTRE.practice)
    entry, submission_set = describe_both(replace(REPORT, author_structure=elsewhere))
    assert entry.author.institution == submission_set.author.institution == xon(CENTRE)
    signs = describe_signature(entry, signature=b"", unique_id="1.2.6", entry_uuid="urn:uuid:3", created=SUBMITTED)
    assert signs.author.institution == xon(CENTRE)


def test_acts_modalities_and_regions_take_the_french_schemes() -> None:
    events = describe(modalities=("CT", "SR", "PT", "ZZ")).events
    assert [(event.value, event.scheme) for event in events] == [
        ("ACQH004", "1.2.250.1.213.2.5"),
        ("CT", "1.2.250.1.213.1.1.5.618"),
        ("PT", "1.2.250.1.213.1.1.5.618"),
        ("ZZ", "1.2.250.1.213.1.1.5.618"),
        ("774007", "1.2.250.1.213.1.1.5.695"),
    ]
    assert events[1].meaning == "Tomodensitométrie"


def test_references_are_cxi() -> None:
    assert describe().reference_ids == (
        "1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        "7252295367250016^^^&1.2.840.113619.6.196&ISO^urn:ihe:iti:xds:2013:accession",
        "12989855966^^^&1.2.250.1.213.4.5.2.6&ISO^urn:ihe:iti:xds:2013:order",
    )
    assert len(describe(exam=replace(EXAM, accession=None, order=None)).reference_ids) == 1


def test_masks_are_added_beside_normal() -> None:
    masked = replace(REPORT, confidentiality=("MASQUE_PS", "INVISIBLE_PATIENT", "MASQUE_PS"))
    assert [(code.value, code.scheme) for code in describe(masked).confidentiality] == [
        ("N", "2.16.840.1.113883.5.25"),
        ("MASQUE_PS", "1.2.250.1.213.1.1.4.13"),
        ("INVISIBLE_PATIENT", "1.2.250.1.213.1.1.4.13"),
    ]


@pytest.mark.parametrize(
    "report",
    [
        replace(REPORT, patient=replace(REPORT.patient, ins=None)),
        replace(REPORT, confidentiality=("SECRET",)),
        replace(REPORT, legal_structure=replace(CENTRE, sector=None), author_structure=replace(CENTRE, sector=None)),
        replace(
            REPORT, legal_structure=replace(CENTRE, practice=None), author_structure=replace(CENTRE, practice=None)
        ),
    ],
)
def test_a_report_that_lacks_what_xds_requires_is_malformed(report: Report) -> None:
    with pytest.raises(Malformed):
        describe(report)


def test_without_local_identifier_the_ins_stands_in() -> None:
    report = replace(REPORT, patient=replace(REPORT.patient, local_id=None))
    assert describe(report).source_patient_id == "269054958815780^^^&1.2.250.1.213.1.4.10&ISO^PI"


def test_separators_in_names_are_escaped() -> None:
    person = Professional(Identifier("1", RPPS), "D^A&B", "C|~\\")
    assert xcn(person) == rf"1^D\S\A\T\B^C\F\\R\\E\^^^^^^&{RPPS}&ISO^D^^^IDNPS"
    structure = Structure(Identifier("2", "1.2"), "A & B")
    assert xon(structure) == r"A \T\ B^^^^^&1.2&ISO^IDNST^^^2"


def test_cx_round_trip() -> None:
    assert read_cx(cx(INS, "NH")) == INS
    assert read_cx("") == Identifier("")
    assert read_cx("1^^^LOCAL") == Identifier("1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("2021", "2021"),
        ("20210104", "20210104"),
        ("20210104+0100", "20210104"),
        ("2021010400+0100", "2021010323"),
        ("202101040922+0100", "202101040822"),
        ("20210104092200", "20210104092200"),
        ("20210704092200+0200", "20210704072200"),
        ("20210104092200.1234-1000", "20210104192200"),
        ("20201231233000-0100", "20210101003000"),
    ],
)
def test_hl7_times_become_utc_at_the_same_precision(text: str, expected: str) -> None:
    assert hl7_time_to_utc(text) == expected


@pytest.mark.parametrize("text", ["x", "202", "2021-01-04", "20211304092200+0100", "00010101000000+0100", "２０２１"])
def test_what_is_no_time_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        hl7_time_to_utc(text)
