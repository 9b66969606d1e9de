"""The exams of an acceptance: published, corrected, withdrawn, changed, refused; then the DMP is read line by line.

Tables in `tests/data/exams`, written from drim-m.md B.3 to B.9 before the code was asked.
"""

import asyncio
import json
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from exam_list import INS, INS_AUTHORITY, Exam, exams, study_uid, table
from lxml import etree
from making import rejection_note
from network import Site, eventually, running
from pacs_stage import needs_orthanc, orthanc
from pydicom import Dataset
from pydicom.dataset import FileDataset

from drimbox.kos.read import read_manifest
from drimbox.pacs.store import send_files
from drimbox.sandbox.dmp_store import Holding
from drimbox.sandbox.nodes import free_port
from drimbox.sandbox.ris import send_report

STRUCTURES: dict[str, tuple[str, ...]] = {"101235555": (), "1750803447": ()}
RANGES = 'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1;q=0.4;boundary=**,'
RIM = {"r": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"}
SCHEMES = {"modalities": "1.2.250.1.213.1.1.5.618", "act": "1.2.250.1.213.2.5", "region": "1.2.250.1.213.1.1.5.695"}
CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"


FIRST = [exam for exam in exams() if not exam.is_later]
LATER = [exam for exam in exams() if exam.is_later]
LISTED = {exam.name: exam for exam in exams()}


async def test_every_exam_of_the_list_ends_in_the_dmp_as_it_should(tmp_path: Path) -> None:
    async with running(tmp_path, structures=STRUCTURES) as site, site.dmp() as dmp:
        slow = [exam for exam in FIRST if "report-first" in exam.twists]
        await send(site.node.dicom_port, tmp_path / "images", images_of(exam for exam in FIRST if exam not in slow))
        answers = {exam.name: await told(site, exam.message()) for exam in FIRST}
        await send(site.node.dicom_port, tmp_path / "slow", images_of(slow))
        await published(dmp)
        answers |= await what_happens_afterwards(site, tmp_path)
        await ended(site, dmp, answers)
        held = dmp.app.documents()
        assert sorted(map(line, held), key=str) == sorted(table("dmp.txt"), key=str)
        check_versions(held)
        judge(held, tmp_path)

        before = [(document.entry_uuid, document.status) for document in held]
        for exam in FIRST:  # the RIS sends everything again
            assert await told(site, exam.message()) == answers[exam.name]
        assert [(document.entry_uuid, document.status) for document in dmp.app.documents()] == before


async def test_it_ends_so_when_reports_come_first_and_the_node_is_killed(tmp_path: Path) -> None:
    """Images that trickle in may make a version more; what is shown in the end is the same."""
    async with running(tmp_path, structures=STRUCTURES) as site:
        answers = {exam.name: await told(site, exam.message()) for exam in FIRST}
        await site.node.stop(signal.SIGKILL)
        await site.node.start()
        await send(site.node.dicom_port, tmp_path / "images", images_of(FIRST))
        await eventually(lambda: any(item["state"] == "frozen" for item in site.outbox()))
        await site.node.stop(signal.SIGKILL)
        async with site.dmp() as dmp:
            await site.node.start()
            await published(dmp)
            answers |= await what_happens_afterwards(site, tmp_path)
            await site.node.stop(signal.SIGKILL)
            await site.node.start()
            await ended(site, dmp, answers)
            check_versions(dmp.app.documents())


@needs_orthanc
async def test_it_ends_so_when_the_images_stay_in_the_pacs(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    (tmp_path / "node.ports.json").write_text(json.dumps(ports))
    with orthanc(tmp_path / "pacs", {"NODE": ports[1]}) as archive:
        await send(archive.port, tmp_path / "images", images_of(FIRST), "ORTHANC")
        pacs = {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": archive.port, "fetch_reported": True}
        async with running(tmp_path, structures=STRUCTURES, pacs=pacs) as site, site.dmp() as dmp:
            answers = {exam.name: await told(site, exam.message()) for exam in FIRST}
            await published(dmp)
            answers |= await what_happens_afterwards(site, tmp_path)
            await ended(site, dmp, answers)
            assert sorted(map(line, dmp.app.documents()), key=str) == sorted(table("dmp.txt"), key=str)


def images_of(some: Iterable[Exam]) -> list[FileDataset]:
    return [image for exam in some for image in exam.images()]


async def published(dmp: Any) -> None:
    """Every study that shall be in the DMP is there."""
    expected = {row["study"] for row in table("dmp.txt")}
    await reached(lambda: {number_of(document) for document in dmp.app.documents()}, expected)


async def what_happens_afterwards(site: Site, folder: Path) -> dict[str, tuple[str, str]]:
    """The corrections, deletions, the notice of the RIS and the note of the PACS; their answers."""
    answers = {exam.name: await told(site, exam.message()) for exam in LATER}
    answers["W notice"] = await told(site, LISTED["W"].notice("CA"))
    await send(site.node.dicom_port, folder / "note", [note_on(LISTED["U"])])
    return answers


async def ended(site: Site, dmp: Any, answers: dict[str, tuple[str, str]]) -> None:
    """Each exam is as it should be in the DMP, each message was answered as it should, and just the rest is owed."""
    await reached(lambda: newest(map(line, dmp.app.documents())), newest(table("dmp.txt")))
    refused = {row["message"]: (row["answer"], row["code"]) for row in table("answers.txt")}
    assert answers == {name: refused.get(name, ("AA", "")) for name in answers}
    owed = table("owed.txt")
    await reached(lambda: owed_by(site), {study_uid(row["study"]): row["state"] for row in owed})
    said = {item["study_uid"]: item["last_error"] for item in await asyncio.to_thread(site.outbox)}
    assert [row for row in owed if row["reason"] not in said[study_uid(row["study"])]] == []
    for document in dmp.app.documents():
        if state_of(document) == "Approved":
            await asyncio.to_thread(fetch_all, document)


# --- what is sent ----------------------------------------------------------------------------------------------------


async def send(port: int, folder: Path, images: list[FileDataset], called: str = "NODE") -> None:
    """C-STORE all of them."""
    folder.mkdir()
    for number, image in enumerate(images):
        image.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)
    await asyncio.to_thread(send_files, [folder], "127.0.0.1", port, "MODALITY", called)


async def told(site: Site, message: bytes) -> tuple[str, str]:
    """Send by MLLP; MSA-1 and the code of ERR-3."""
    answer = await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, message)
    code = re.search(r"\rERR\|[^|]*\|[^|]*\|([0-9]+)\^", answer)
    return re.findall(r"\rMSA\|(..)\|", answer)[0], code[1] if code else ""


def note_on(exam: Exam) -> FileDataset:
    """A rejection note on its last two instances."""
    *_, third, fourth = exam.images()
    return rejection_note(
        "113001", third, fourth, study=third.StudyInstanceUID, AccessionNumber=third.AccessionNumber,
        PatientID=third.PatientID,
    )  # fmt: skip


# --- what the DMP and the node say ----------------------------------------------------------------------------------


async def reached(found: Any, expected: Any) -> None:
    """Return once `found` gives what is expected; when it never does, fail showing both."""
    try:
        await eventually(lambda: found() == expected)
    except TimeoutError:
        assert found() == expected


def newest(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """What is not only an older version."""
    return sorted((row for row in rows if row["state"] != "Deprecated"), key=str)


def number_of(document: Holding) -> str:
    uid: str = pydicom.dcmread(BytesIO(document.content)).StudyInstanceUID
    return uid.rpartition(".")[2]


def state_of(document: Holding) -> str:
    return document.status.rpartition(":")[2]


def line(document: Holding) -> dict[str, str]:
    """A document as dmp.txt has it: metadata by XPath, manifest by pydicom, nothing by the code that wrote them."""
    entry = etree.fromstring(document.metadata)
    kos = pydicom.dcmread(BytesIO(document.content))
    (study,) = kos.CurrentRequestedProcedureEvidenceSequence
    evidence = [item for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
    content = [item for item in kos.ContentSequence if item.ValueType != "TEXT"]
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in content] == [
        item.ReferencedSOPInstanceUID for item in evidence
    ]
    (request,) = kos.ReferencedRequestSequence
    check_entry(document, entry, kos)
    return {
        "study": number_of(document),
        "state": state_of(document),
        "images": str(len(evidence)),
        "items": ",".join(sorted({item.ValueType for item in content} - {"IMAGE"})) or "-",
        "key": str(sum("ReferencedSOPSequence" in item for item in evidence)),
        "accession": request.AccessionNumber,
        "confidentiality": ",".join(codes(entry, f"@classificationScheme='{CONFIDENTIALITY}'")),
        "structure": slot(entry, f"//r:Classification[@classificationScheme='{AUTHOR}']", "authorInstitution")[0][-40:]
        .rpartition("^")[2],
        "name": str(kos.PatientName),
        "place": kos.PatientComments,
        **{name: ",".join(sorted(events(entry, scheme))) for name, scheme in SCHEMES.items()},
    }  # fmt: skip


def check_entry(document: Holding, entry: Any, kos: Dataset) -> None:
    """What is the same in every line: identity, references, names of the document (drim-m.md B.5, B.6)."""
    patient = f"{INS}^^^&{INS_AUTHORITY}&ISO^NH"
    assert entry.xpath(f"//r:ExternalIdentifier[@identificationScheme='{PATIENT_ID}']/@value", namespaces=RIM) == [
        patient
    ]
    assert (document.patient_id, document.unique_id) == (patient, kos.SOPInstanceUID)
    (request,) = kos.ReferencedRequestSequence
    accession, order = request.AccessionNumber, request.PlacerOrderNumberImagingServiceRequest
    assert order == accession.replace("ACN", "OPN")
    assert set(slot(entry, "//r:ExtrinsicObject", "urn:ihe:iti:xds:2013:referenceIdList")) == {
        f"{kos.StudyInstanceUID}^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        f"{accession}^^^&1.2.250.1.999.5&ISO^urn:ihe:iti:xds:2013:accession",
        f"{order}^^^&1.2.250.1.999.6&ISO^urn:ihe:iti:xds:2013:order",
    }
    assert (kos.PatientID, kos.IssuerOfPatientID) == (INS, "ASIP-SANTE-INS-NIR")
    assert (kos.AccessionNumber, kos.TimezoneOffsetFromUTC) == ("", "+0100")  # of 1 March, whenever it is made
    assert (kos.SpecificCharacterSet, kos.SeriesNumber, kos.Modality) == ("ISO_IR 100", 59, "KO")


def codes(entry: Any, condition: str) -> list[str]:
    found: list[str] = entry.xpath(f"//r:Classification[{condition}]/@nodeRepresentation", namespaces=RIM)
    return found


def events(entry: Any, scheme: str) -> list[str]:
    return codes(entry, f"r:Slot[@name='codingScheme']/r:ValueList/r:Value='{scheme}'")


def slot(entry: Any, parent: str, name: str) -> list[str]:
    path = f"{parent}/r:Slot[@name='{name}']/r:ValueList/r:Value/text()"
    found: list[str] = entry.xpath(path, namespaces=RIM)
    return found


def owed_by(site: Site) -> dict[str, str]:
    """What the outbox still owes: by study, in which state."""
    items = [item for item in site.outbox() if item["state"] not in ("done", "discarded")]
    return {item["study_uid"]: item["state"] for item in items}


def check_versions(held: list[Holding]) -> None:
    """No two manifests have a UID in common, and versions of one exam are numbered."""
    read = [pydicom.dcmread(BytesIO(document.content)) for document in held]
    assert len({uid for kos in read for uid in (kos.SOPInstanceUID, kos.SeriesInstanceUID)}) == 2 * len(read)
    numbers: dict[str, list[int]] = {}
    for kos in read:
        numbers.setdefault(kos.StudyInstanceUID, []).append(int(kos.InstanceNumber))
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def fetch_all(document: Holding) -> None:
    """As another DRIMbox: every series at its RetrieveURL brings just the instances that the manifest lists."""
    kos = pydicom.dcmread(BytesIO(document.content))
    for series in kos.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence:
        headers = {"Accept": RANGES, "KOS-SOPInstanceUID": document.unique_id}
        with urllib.request.urlopen(urllib.request.Request(series.RetrieveURL, headers=headers), timeout=30) as answer:
            parts = re.split(rb"--" + answer.headers.get_boundary().encode(), answer.read())[1:-1]
        got = [pydicom.dcmread(BytesIO(part.partition(b"\r\n\r\n")[2])).SOPInstanceUID for part in parts]
        assert sorted(got) == sorted(item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence)


# --- what others say of the manifests --------------------------------------------------------------------------------


def judge(held: list[Holding], folder: Path) -> None:
    """Our reader reads back every manifest; dciodvfy finds no error in it, highdicom opens it, where they are there."""
    highdicom: Any = pytest.importorskip("highdicom", reason="highdicom has no release for this Python")
    for document in held:
        manifest = read_manifest(document.content)
        assert manifest.uid == document.unique_id
        kos = pydicom.dcmread(BytesIO(document.content))
        if not any(item.ValueType == "WAVEFORM" for item in kos.ContentSequence):  # highdicom has no class for it
            opened = highdicom.ko.KeyObjectSelectionDocument.from_dataset(kos)
            for series in manifest.series:
                for instance in series.instances:
                    place = (manifest.study_uid, series.series_uid, instance.sop_uid)
                    assert opened.resolve_reference(instance.sop_uid) == place
        file = folder / "judged.dcm"
        file.write_bytes(document.content)
        assert list(errors_in(file)) == []


def errors_in(file: Path) -> Iterator[str]:
    if shutil.which("dciodvfy") is None:
        return
    ran = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
    yield from (line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error"))
    if ran.returncode:
        yield f"exit code {ran.returncode}"


def test_the_tables_name_every_exam() -> None:
    """A to Z, each once; every study somewhere in the DMP, owed, or kept back."""
    names = [exam.name for exam in exams()]
    assert len(names) == len(set(names))
    assert {name[0] for name in names if name[0].isupper()} == set(map(chr, range(ord("A"), ord("Z") + 1)))
    shown = {row["study"] for row in table("dmp.txt")} | {row["study"] for row in table("owed.txt")}
    assert {number for exam in exams() for number in exam.studies} - shown == {"145", "147", "149"}
