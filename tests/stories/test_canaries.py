"""Nothing of a patient is in the log or the trail, whatever was done and went wrong (P18)."""

import asyncio

from making import STUDY, ct
from network import AT, get, running

from drimbox.pacs.store import send_files
from drimbox.sandbox.ris import PATIENT, Study, build_oru, send_report

NAME, LOCAL_ID, ACCESSION = "CANARI-NOM^ZOE", "CANARI-IPP", "CANARI-ACC"
WORDS = ["CANARI", PATIENT.family, PATIENT.given, PATIENT.birth_date, PATIENT.ins.value]


async def test_no_word_of_a_patient_is_in_the_log_or_the_trail(tmp_path):
    identity = {"PatientName": NAME, "PatientID": LOCAL_ID, "AccessionNumber": ACCESSION}
    sound, other, damaged = (tmp_path / f"{name}.dcm" for name in ("sound", "other", "damaged"))
    ct(1, 1, **identity).save_as(sound, enforce_file_format=True)
    ct(1, 1, **identity, StudyDescription="CANARI").save_as(other, enforce_file_format=True)
    ct(1, 2, **identity, SeriesInstanceUID="").save_as(damaged, enforce_file_format=True)
    report = build_oru(Study(STUDY, LOCAL_ID, ACCESSION, "CT"), AT)
    async with running(tmp_path) as site, site.dmp():
        node = site.node
        for file in (sound, other, damaged):
            try:
                await asyncio.to_thread(send_files, [file], "127.0.0.1", node.dicom_port, "MODALITY", "NODE")
            except Exception as error:  # the damaged one, or the second version: refusals are part of the story
                assert "CANARI" not in str(error)
        for message in (
            report,
            report.replace(PATIENT.ins.value.encode(), b"155024612345645", 1),  # another INS in PID than in the CDA
            report.replace(b"PID|", b"PID|CANARI\x00"),
            report.replace(b"^TEXT^XML^Base64^", b"^TEXT^XML^Base64^CANARI*"),
            report.replace(b"|VALI", b"|CANARI"),
        ):
            await asyncio.to_thread(send_report, "127.0.0.1", node.hl7_port, message)
        for path in (
            f"dicom-web/studies?PatientName=CANARI-NOM*&PatientID={LOCAL_ID}",
            f"dicom-web/studies?PatientBirthDate=CANARI&AccessionNumber={ACCESSION}",
            f"dicom-web/studies/{STUDY}/metadata",
            f"dicom-web/studies/{STUDY}",
            f"api/v1/patients/{PATIENT.ins.value}/documents",
            "api/v1/patients/CANARI/documents",
            "api/v1/visits/CANARI",
            "visits/CANARI/dicom-web/studies",
            "CANARI",
        ):
            await asyncio.to_thread(get, f"{node.url}/{path}")
    log = (tmp_path / "node.log").read_text()
    trail = "".join(file.read_text() for file in (tmp_path / "node" / "trail").iterdir())
    assert "request_refused" in log
    assert "hl7_message_refused" in log
    assert '"action":"retrieve"' in trail
    for word in WORDS:
        assert word not in log
        assert word not in trail
