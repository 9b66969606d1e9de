"""One node speaks for several care structures: each report goes out in the name of who answers for it.

Two geographic entities with certificates of their own (mode EG), and a legal entity whose certificates speak for its
two sites (EJ/EG): drim-m.md B.8. The sandbox DMP holds what arrives against the certificate of the channel.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from certificates import signer_in, unit_of
from exam_list import Exam, exams, study_uid
from network import Site, eventually, running
from pydicom.dataset import FileDataset
from test_exams_list import number_of, send, told

from drimbox.sandbox.dmp import Heard
from drimbox.sandbox.dmp_store import Holding

NORTH, SOUTH, ENTITY, EAST, WEST, STRANGER = (f"17500000{number}" for number in (11, 29, 37, 45, 52, 60))
STRUCTURES: dict[str, tuple[str, ...]] = {NORTH: (), SOUTH: (), ENTITY: (EAST, WEST)}
LIKE = next(exam for exam in exams() if exam.name == "J")


@dataclass(frozen=True)
class Report(Exam):
    """A report that a structure answers for; its author works somewhere else when told."""

    author: str = ""

    def cda(self) -> bytes:
        before, end, after = super().cda().partition(b"</assignedAuthor>")
        if self.author:
            before = before.replace(self.facts["structure"].encode(), self.author.encode())
        return before + end + after


def report(number: int, structure: str, author: str = "", status: str = "F") -> Report:
    told_of = {"exam": f"S{number}", "report": str(number), "acts": str(number), "orders": f"ACN{number}"}
    return Report({**LIKE.facts, **told_of, "images": "CT:1", "structure": structure, "status": status}, author)


# study: structure of the legal authenticator, and of the author when another one.
REPORTS = {
    number: report(number, *structures)
    for number, structures in enumerate(
        [(NORTH,), (SOUTH,), (EAST,), (WEST,), (SOUTH, STRANGER), (EAST, NORTH), (STRANGER,), (STRANGER, NORTH)], 301
    )
}
# study: whose certificates, which number in the VIHF, which in the metadata.
EXPECTED = {
    "301": (NORTH, NORTH, NORTH),
    "302": (SOUTH, SOUTH, SOUTH),
    "303": (ENTITY, ENTITY, EAST),
    "304": (ENTITY, ENTITY, WEST),
    "305": (SOUTH, SOUTH, SOUTH),
    "306": (ENTITY, ENTITY, EAST),
}


async def test_each_report_goes_out_in_the_name_of_its_own_structure(tmp_path: Path) -> None:
    async with running(tmp_path, structures=STRUCTURES) as site, site.dmp() as dmp:
        images: list[FileDataset] = [image for exam in REPORTS.values() for image in exam.images()]
        await send(site.node.dicom_port, tmp_path / "images", images)
        for exam in REPORTS.values():
            assert await told(site, exam.message()) == ("AA", "")
        await settled(site, len(REPORTS))

        parked = {item["study_uid"]: item["last_error"] for item in site.outbox() if item["state"] == "parked"}
        reason = "structure: no certificate in dmp.structures speaks for it"
        assert parked == {study_uid("307"): reason, study_uid("308"): reason}
        assert sum(dmp.app.received.values()) == len(EXPECTED)  # of the other two nothing left the node

        heard, documents = list(dmp.app.heard), dmp.app.documents()  # both in order of arrival
        names = [in_whose_name(*arrived, dmp.app.signatures()) for arrived in zip(heard, documents, strict=True)]
        assert dict(zip(map(number_of, documents), names, strict=True)) == EXPECTED

        assert await told(site, report(303, EAST, status="D").message()) == ("AA", "")
        await settled(site, len(REPORTS) + 1)
        withdrawn = [document for document in dmp.app.documents() if document.status.endswith("Deleted")]
        assert [number_of(document) for document in withdrawn] == ["303"]
        assert dmp.app.heard[-1].transaction == "update"
        assert unit_of(dmp.app.heard[-1].client) == ENTITY


def in_whose_name(heard: Heard, document: Holding, signatures: list[Holding]) -> tuple[str, str, str]:
    """Whose certificates, which number in the VIHF, which in the metadata; the whole submission says the same."""
    [signature] = [one for one in signatures if f'"urn:oid:{document.unique_id}"'.encode() in one.content]
    owner = unit_of(heard.client)
    assert heard.vihf.issuer == signer_in(signature.content).subject.rfc4514_string()
    assert unit_of(signer_in(signature.content)) == owner
    assert heard.vihf.person == "810000000001"
    [institution] = institutions(document)
    assert institutions(signature) == [institution]
    authenticator = "810000000001^SIGNE^Ada^^^^^^&amp;1.2.250.1.71.4.2.1&amp;ISO^D^^^IDNPS"
    assert f'"legalAuthenticator"><rim:ValueList><rim:Value>{authenticator}<' in document.metadata
    return owner, heard.vihf.structure, institution


def institutions(held: Holding) -> list[str]:
    return re.findall(r"IDNST\^\^\^([0-9]+)<", held.metadata)


async def settled(site: Site, jobs: int) -> None:
    def ended() -> bool:
        states = [item["state"] for item in site.outbox()]
        return len(states) == jobs and set(states) <= {"done", "parked"}

    await eventually(ended)
