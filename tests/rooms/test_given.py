"""Manifests in a file: checked as at an import, bounded, kept to be opened like listed documents."""

import io
import zipfile
from dataclasses import replace

import pytest
from manifests import MANIFEST
from media import a_set, medium

from drimbox.audit.trail import Trail
from drimbox.errors import Malformed, NotFound, TooLarge, Unidentified
from drimbox.flows.admit import Admit
from drimbox.flows.given import MAX_FILE, Given
from drimbox.kos.build import build_manifest
from drimbox.model import Credentials
from drimbox.settings import Settings
from drimbox.storage.archive import Archive
from drimbox.storage.visits import Visits

LOOPBACK = Credentials("http", "127.0.0.1")
KOS = build_manifest(MANIFEST)


@pytest.fixture
def given(tmp_path):
    archive = Archive(tmp_path / "visiting")
    trail = Trail(tmp_path / "trail.jsonl")
    yield Given(Visits(archive.database), Admit(Settings(), trail))
    archive.close()
    trail.close()


async def in_pieces(data):
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def test_a_manifest_alone(given):
    [document] = await given(LOOPBACK, in_pieces(KOS))
    assert document["study_uid"] == MANIFEST.study_uid
    assert document["patient"] == f"{MANIFEST.patient.family} {MANIFEST.patient.given}"
    assert document["author"] == MANIFEST.institution
    assert await given.visits.document(document["document_id"]) == KOS


async def test_each_manifest_of_a_medium(given, tmp_path):
    studies = [replace(MANIFEST, uid=f"1.2.3.{number}", study_uid=f"1.2.4.{number}") for number in (1, 2)]
    path = medium(tmp_path / "m.zip", *map(a_set, studies))
    documents = await given(LOOPBACK, in_pieces(path.read_bytes()))
    assert [document["study_uid"] for document in documents] == ["1.2.4.1", "1.2.4.2"]


def a_zip(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", Malformed),
        (b"PK", Malformed),
        (b"x" * 1000, Malformed),
        (a_zip(readme="x"), NotFound),
        (a_zip(**{"IHE_XDM/A/METADATA.XML": bytes(200 << 20)}), TooLarge),
        (bytes(MAX_FILE + 1), TooLarge),
    ],
)
async def test_what_is_no_manifest_is_refused(given, data, refusal):
    with pytest.raises(refusal):
        await given(LOOPBACK, in_pieces(data))


async def test_a_document_that_is_not_what_its_metadata_say_is_refused(given, tmp_path):
    path = medium(tmp_path / "m.zip", a_set(hash="0" * 40))
    with pytest.raises(Malformed, match="hash"):
        await given(LOOPBACK, in_pieces(path.read_bytes()))


async def test_a_stranger_is_refused_before_a_byte_is_read(given):
    async def never():
        raise AssertionError("read")
        yield b""

    with pytest.raises(Unidentified):
        await given(Credentials("http", "192.0.2.1"), never())
