"""Consultation: never the wrong patient, never an address a manifest invents, nothing left of a loan (P16)."""

import dataclasses
from datetime import UTC, datetime

import pytest
from making import STUDY, ct, data_set_bytes

from drimbox.audit.trail import Trail
from drimbox.errors import Conflict, Denied, Malformed, NotFound, Unavailable, Unidentified
from drimbox.flows import consult as consult_module
from drimbox.flows.admit import Admit
from drimbox.flows.consult import Consult
from drimbox.flows.ingest import Ingest
from drimbox.kos.build import build_manifest
from drimbox.kos.manifest import Manifest, ManifestInstance, ManifestSeries
from drimbox.model import Credentials, Identifier, Patient
from drimbox.peers.wado_client import Incoming
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.visits import Visits
from drimbox.xds.answers import Listed

INS = Identifier("279035121518989", "1.2.250.1.213.1.4.10", "ASIP-SANTE-INS-NIR")
BASE = "https://db1.example.org/dicom-web"
LOOPBACK = Credentials("http", "127.0.0.1")
SETTINGS = Settings(
    peers={"known": [{"name": "db1", "url": BASE}]},
    auth={"professional": {"id": "899700000011", "family": "DURAND", "given": "CLAIRE"}},
    dmp={
        "structures": [
            {"id": "1", "name": "s", "tls_certificate": "a", "tls_key": "b", "sign_certificate": "c", "sign_key": "d"}
        ]
    },
)


def manifest(ins=INS, base=BASE, numbers=(1, 2)):
    instances = tuple(
        ManifestInstance("1.2.840.10008.5.1.4.1.1.2", f"{STUDY}.1.{number}", number) for number in numbers
    )
    series = ManifestSeries(f"{STUDY}.1", "CT", 1, "", f"{base}/studies/{STUDY}/series/{STUDY}.1", instances)
    return Manifest(
        uid="2.25.1", series_uid="2.25.2", study_uid=STUDY, study_date="20260301", study_time="", study_description="",
        study_id="", referring_physician="", accession=None, order=None,
        patient=Patient(ins, None, "PAT-TROIS", "DOMINIQUE", birth_date="19790328", sex="F"),
        created=datetime(2026, 3, 1, tzinfo=UTC), institution="Centre", structure_id="1", manufacturer="DRIMbox",
        instance_number=1, act="", series=(series,),
    )  # fmt: skip


def listed():
    fields = {field.name: "" for field in dataclasses.fields(Listed) if field.default is dataclasses.MISSING}
    lists = dict.fromkeys(("acts", "modalities", "regions"), ())
    reference = f"{STUDY}^^^^urn:ihe:iti:xds:2016:studyInstanceUID"
    return Listed(
        **{**fields, **lists, "size_bytes": None, "type_code": None, "format_code": None, "reference_ids": (reference,)}
    )


class Dmp:
    """A DMP that lists one document and hands over `manifest`."""

    def __init__(self, manifest):
        self.manifest = manifest

    async def find(self, ins, speaker):
        return [listed()]

    async def fetch(self, listed, speaker):
        return build_manifest(self.manifest)


async def in_two(data):
    yield memoryview(data[:1000])
    yield memoryview(data[1000:])


class Peers:
    """A DRIMbox that sends these instances, and counts how often it was called."""

    def __init__(self, *instances):
        self.instances = instances
        self.calls = 0

    async def fetch_series(self, peer, study_uid, series_uid, manifest_uid, token):
        self.calls += 1
        for made in self.instances:
            chunks = in_two(data_set_bytes(made))
            yield Incoming(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, chunks)


@pytest.fixture
def consulting(tmp_path):
    archive = Archive(tmp_path / "visiting")
    trail = Trail(tmp_path / "trail.jsonl")

    def make(dmp, peers, settings=SETTINGS):
        admit = Admit(settings, trail)
        return Consult(Visits(archive.database), Ingest(archive, admit, 1 << 20), admit, dmp, peers, settings)

    yield make
    archive.close()
    trail.close()


async def opened(consult):
    [document] = await consult.documents(LOOPBACK, INS)
    assert document["study_uid"] == STUDY
    return await consult.open(LOOPBACK, document["document_id"])


async def test_images_of_a_document_come_on_loan(consulting):
    consult = consulting(Dmp(manifest()), Peers(ct(1, 1), ct(1, 2)))
    visit = await opened(consult)
    assert (await consult.visit(visit["visit_id"], f"{STUDY}.1", listing=False)).study_uid == STUDY
    progress = await consult.progress(LOOPBACK, visit["visit_id"])
    assert (progress["expected"], progress["landed"], progress["missing"], progress["complete"]) == (2, 2, 0, True)
    assert len(await consult.ingest.archive.held(STUDY)) == 2


async def test_a_manifest_of_another_patient_opens_nothing(consulting):
    other = Identifier("155024612345645", INS.authority, INS.namespace)
    peers = Peers(ct())
    consult = consulting(Dmp(manifest(ins=other)), peers)
    with pytest.raises(Conflict, match="another patient"):
        await opened(consult)
    assert peers.calls == 0


async def test_an_address_a_manifest_invents_is_never_called(consulting):
    peers = Peers(ct())
    consult = consulting(Dmp(manifest(base="https://169.254.169.254/dicom-web")), peers)
    with pytest.raises((Denied, Malformed)):
        await opened(consult)
    assert peers.calls == 0


async def test_an_instance_the_manifest_does_not_name_is_not_kept(consulting):
    consult = consulting(Dmp(manifest()), Peers(ct(1, 1), ct(1, 9), ct(2, 1), ct(1, 2, study="1.2.3")))
    visit = await opened(consult)
    await consult.visit(visit["visit_id"], "", listing=False)
    assert [held.ref.sop_uid for held in await consult.ingest.archive.held(STUDY)] == [f"{STUDY}.1.1"]
    assert (await consult.progress(LOOPBACK, visit["visit_id"]))["missing"] == 1


async def test_what_has_expired_leaves_nothing(consulting, monkeypatch):
    monkeypatch.setattr(consult_module, "VISIT_S", 0.0)
    consult = consulting(Dmp(manifest()), Peers(ct(1, 1), ct(1, 2)))
    visit = await opened(consult)
    await consult.landings[visit["visit_id"]].task
    await consult.expire()
    assert await consult.ingest.archive.held(STUDY) == []
    assert consult.landings == {}
    with pytest.raises(NotFound):
        await consult.visit(visit["visit_id"], "", listing=False)


async def test_nobody_consults_while_nobody_is_named(consulting):
    consult = consulting(Dmp(manifest()), Peers(), SETTINGS.model_copy(update={"auth": Settings().auth}))
    with pytest.raises(Unidentified):
        await consult.documents(LOOPBACK, INS)


async def test_images_still_on_their_way_are_asked_for_again(consulting):
    class Slow(Peers):
        async def fetch_series(self, *args):
            await consult_module.asyncio.Event().wait()
            yield

    consult = consulting(Dmp(manifest()), Slow())
    visit = await opened(consult)
    with pytest.raises(Unavailable, match="on their way"):
        await consult.visit(visit["visit_id"], "", listing=True, wait_s=0.05)
    await consult.stop()


async def test_a_bug_in_one_series_is_logged_and_nobody_waits_for_it(consulting, caplog):
    class Broken(Peers):
        async def fetch_series(self, *args):
            raise ValueError("a bug")
            yield

    consult = consulting(Dmp(manifest()), Broken())
    visit = await opened(consult)
    await consult.visit(visit["visit_id"], "", listing=False, wait_s=60)
    await consult.landings[visit["visit_id"]].task
    assert (await consult.progress(LOOPBACK, visit["visit_id"]))["missing"] == 2
    [record] = [record for record in caplog.records if record.message == "series_failed"]
    assert record.exc_info and len(record.incident) == 16


async def test_a_visit_goes_on_after_a_restart_whoever_asks_first(consulting):
    first = consulting(Dmp(manifest()), Peers())
    visit = await opened(first)
    await first.stop()
    again = consulting(Dmp(manifest()), Peers(ct(1, 1), ct(1, 2)))
    assert (await again.progress(LOOPBACK, visit["visit_id"]))["expected"] == 2
    await again.landings[visit["visit_id"]].task
    progress = await again.progress(LOOPBACK, visit["visit_id"])
    assert (progress["landed"], progress["complete"]) == (2, True)


async def test_images_still_coming_when_a_visit_ends_do_not_stay(consulting, monkeypatch):
    monkeypatch.setattr(consult_module, "VISIT_S", 0.0)
    going_on = consult_module.asyncio.Event()

    class Slow(Peers):
        async def fetch_series(self, *args):
            await going_on.wait()
            async for incoming in super().fetch_series(*args):
                yield incoming

    consult = consulting(Dmp(manifest()), Slow(ct(1, 1), ct(1, 2)))
    visit = await opened(consult)
    landing = consult.landings[visit["visit_id"]]
    await consult.expire()
    going_on.set()
    await consult_module.asyncio.wait([landing.task], timeout=60)
    assert await consult.ingest.archive.held(STUDY) == []
