"""Submissions taken over from a medium: only what the medium says truly, and the newest of a study."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from making import report as a_report
from manifests import MANIFEST
from media import INS, a_set, described, medium

from drimbox.audit.trail import Trail
from drimbox.errors import Conflict, DrimboxError, Malformed, NotFound, TooLarge
from drimbox.flows.admit import Admit
from drimbox.flows.xdm_export import XdmExport
from drimbox.flows.xdm_import import MAX_MANIFEST, XdmImport
from drimbox.kos.build import build_manifest
from drimbox.model import Credentials, Identifier
from drimbox.settings import Settings
from drimbox.storage.earlier import EarlierSubmissions
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import Reports

OPERATOR = Credentials("operator", "127.0.0.1", calling="test")


class Box:
    """The archive of submissions of one box."""

    def __init__(self, folder):
        self.database = open_outbox(folder / "own")
        self.trail = Trail(folder / "trail" / "commands.jsonl")
        self.outbox = Outbox(self.database)
        self.reports = Reports(self.outbox)
        earlier, admit = EarlierSubmissions(self.outbox), Admit(Settings(node={"data_dir": folder}), self.trail)
        self.bring, self.leave = XdmImport(earlier, admit), XdmExport(earlier, admit)

    def close(self):
        self.database.close()
        self.trail.close()

    async def take(self, path):
        """What became of each set, by kind."""
        said = []
        await self.bring(OPERATOR, path, lambda name, outcome: said.append(outcome))
        return [type(one) if isinstance(one, DrimboxError) else one for one in said]


@pytest.fixture
def box(tmp_path):
    box = Box(tmp_path / "box")
    yield box
    box.close()


async def test_a_set_is_kept_with_whoever_answers_for_it(box, tmp_path):
    text = f"1.2.250.1.213.4.5.4.7;;{INS.value};{INS.authority};1.2.250.1.213.4.5.2.4;IPP101"
    path = medium(tmp_path / "m.zip", a_set(extra={"CR.TXT": text}))
    assert await box.take(path) == ["imported"]
    published = await box.outbox.published(MANIFEST.study_uid)
    assert published.submission.unique_id == MANIFEST.uid
    assert published.ins == f"{INS.value}^{INS.authority}"
    report = await box.reports.report(published.report_id)
    assert report.document_id == Identifier("", "1.2.250.1.213.4.5.4.7")
    assert report.patient.local_id == Identifier("IPP101", "1.2.250.1.213.4.5.2.4")
    assert report.patient.qualified
    assert report.legal_authenticator.family == "DURAND"
    assert report.legal_structure.id.value == MANIFEST.structure_id
    assert report.confidentiality == ("MASQUE_PS",)
    assert [exam.accession for exam in report.exams] == [MANIFEST.accession]
    assert await box.take(path) == ["already there"]


KOS = build_manifest(MANIFEST)


@pytest.mark.parametrize(
    ("files", "refusal"),
    [
        (a_set(hash="0" * 40), Malformed),
        (a_set(hash=""), Malformed),
        (a_set(size_bytes=1), Malformed),
        (a_set(patient=Identifier("179035121518989", "1.2.250.1.213.1.4.10")), Conflict),
        (a_set(unique_id="1.2.3.4"), Conflict),
        ({"METADATA.XML": described(MANIFEST, KOS)}, NotFound),
        ({"METADATA.XML": b"<a", "KOS_1_1.DCM": KOS}, Malformed),
        ({"METADATA.XML": described(MANIFEST, b"not a KOS"), "KOS_1_1.DCM": b"not a KOS"}, Malformed),
        ({**a_set(), "KOS_1_1.DCM": KOS[:-1] + b"\x01"}, Malformed),
        (a_set(extra={"CR.TXT": "1.2;;179035121518989;1.2;1.2;x"}), Conflict),
        (a_set(extra={"CR.JSN": b"{}"}), Malformed),
        ({**a_set(), "KOS_1_1.DCM": bytes(MAX_MANIFEST + 1)}, TooLarge),
    ],
)
async def test_what_the_medium_does_not_say_truly_is_refused_and_holds_up_no_other(box, tmp_path, files, refusal):
    good = replace(MANIFEST, uid="1.2.3.77", study_uid="1.2.3.78")
    assert await box.take(medium(tmp_path / "m.zip", files, a_set(good))) == [refusal, "imported"]
    assert await box.outbox.published(MANIFEST.study_uid) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_of_several_of_one_study_the_one_submitted_last_counts(box, tmp_path, order):
    versions = [replace(MANIFEST, uid=f"1.2.3.{number}", instance_number=number) for number in (1, 2, 3)]
    sets = [a_set(one, submitted=f"2026030{number}100000") for number, one in enumerate(versions, start=1)]
    for number, place in enumerate(order):
        [said] = await box.take(medium(tmp_path / f"{number}.zip", sets[place]))
        assert said in ("imported", "superseded")
    published = await box.outbox.published(MANIFEST.study_uid)
    assert published.submission.unique_id == "1.2.3.3"
    _, in_force = await box.reports.current(MANIFEST.study_uid)
    assert in_force == await box.reports.report(published.report_id)


async def test_a_report_that_came_by_hl7_stays_in_force(box, tmp_path):
    newer = a_report(studies=(MANIFEST.study_uid,))
    await box.reports.arrived(newer, b"digest")
    assert await box.take(medium(tmp_path / "m.zip", a_set())) == ["imported"]
    assert (await box.reports.current(MANIFEST.study_uid))[1].message_id == newer.message_id


async def test_while_the_exam_is_being_told_nothing_is_taken_over(box, tmp_path):
    await box.reports.arrived(a_report(studies=(MANIFEST.study_uid,)), b"digest")
    assert await box.outbox.lease()
    assert await box.take(medium(tmp_path / "m.zip", a_set())) == [Conflict]


async def test_a_manifest_alone_carries_no_signer(box, tmp_path):
    (tmp_path / "kos.dcm").write_bytes(KOS)
    assert await box.take(tmp_path / "kos.dcm") == ["imported"]
    published = await box.outbox.published(MANIFEST.study_uid)
    report = await box.reports.report(published.report_id)
    assert report.legal_authenticator.id.value == ""
    (tmp_path / "other.dcm").write_bytes(b"x" * 200)
    assert await box.take(tmp_path / "other.dcm") == [Malformed]
    newer = replace(MANIFEST, uid="1.2.3.9", created=MANIFEST.created + timedelta(days=1))
    (tmp_path / "newer.dcm").write_bytes(build_manifest(newer))
    assert await box.take(tmp_path / "newer.dcm") == ["imported"]
    assert (await box.outbox.published(MANIFEST.study_uid)).submission.unique_id == "1.2.3.9"


async def test_what_leaves_comes_in_again_the_same(box, tmp_path):
    studies = [replace(MANIFEST, uid=f"1.2.3.{number}", study_uid=f"1.2.4.{number}") for number in range(1, 8)]
    assert set(await box.take(medium(tmp_path / "m.zip", *map(a_set, studies)))) == {"imported"}
    written = []
    [path] = await box.leave(OPERATOR, tmp_path / "media", written.append)
    assert written == [True] * 7
    other = Box(tmp_path / "other")
    try:
        assert await other.take(path) == ["imported"] * 7
        for study in studies:
            here, there = [await one.outbox.published(study.study_uid) for one in (box, other)]
            assert here.submission.manifest == there.submission.manifest
            assert await box.reports.report(here.report_id) == await other.reports.report(there.report_id)
    finally:
        other.close()
    assert [one.name for one in (tmp_path / "media").iterdir()] == [path.name]  # no draft stays
