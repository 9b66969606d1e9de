"""A centre changes its box: what the old one told the DMP is replaced and withdrawn by the new one."""

import asyncio
import subprocess
import sys
import tomllib
import zipfile

from making import STUDY, ct, rejection_note
from network import eventually, running, send

from drimbox.kos.read import read_manifest
from drimbox.sandbox.dmp_schemas import read_schema
from drimbox.sandbox.ris import Study
from drimbox.xds.codes import APPROVED, DELETED
from drimbox.xds.xdm import read_metadata
from drimbox.xds.xml import read_xml

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")
SLICES = [f"{STUDY}.1.{number}" for number in range(1, 4)]


async def drimbox(site, *arguments, code=0):
    command = [sys.executable, "-m", "drimbox", *arguments, "--config", str(site.folder / "node.toml")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


async def report(site, **options):
    assert "MSA|AA|" in await asyncio.to_thread(lambda: site.send_report(EXAM, **options))


async def told(site, count):
    """The items of the outbox, once `count` of them are done and nothing is owed."""

    def look():
        items = site.outbox()
        return items if len(items) == count and all(item["state"] == "done" for item in items) else None

    try:
        return await eventually(look)
    except TimeoutError:
        raise AssertionError(site.outbox()) from None


async def exported(site, folder):
    """One submission of a box that is then gone: its medium."""
    said = await drimbox(site, "xdm", "export", "-o", str(folder))
    assert "1 submissions in 1 media" in said
    [medium] = folder.glob("KA*.zip")
    return medium


def current(dmp):
    """The manifests the DMP shows."""
    return [one for one in dmp.app.documents() if one.status == APPROVED]


async def shown(dmp, site, *uids):
    """Wait until the DMP shows these instances, at this site, and nothing is owed.

    Not until so many were told: a node that looks between two images tells of the first one alone.
    """

    def look():
        told = [
            (series.retrieve_url.startswith(f"{site.node.url}/"), instance.sop_uid)
            for document in current(dmp)
            for series in read_manifest(document.content).series
            for instance in series.instances
        ]
        is_owed = any(item["state"] != "done" for item in site.outbox())
        return sorted(told) == [(True, uid) for uid in sorted(uids)] and not is_owed

    await eventually(look)


def settings_of(site):
    return tomllib.loads((site.folder / "node.toml").read_text())["dmp"]


async def test_the_new_box_replaces_and_withdraws_what_the_old_one_published(tmp_path, slices):
    async with running(tmp_path / "old") as old, old.dmp() as dmp:
        await send(old, slices)
        await report(old)
        [item] = await told(old, 1)
        medium = await exported(old, tmp_path / "media")
        async with running(tmp_path / "new", dmp=settings_of(old)) as new:
            assert "1 imported, 0 already there" in await drimbox(new, "xdm", "import", str(medium))
            assert "0 imported, 1 already there" in await drimbox(new, "xdm", "import", str(medium))
            [taken] = new.outbox()
            assert (taken["unique_id"], taken["cause"], taken["state"]) == (item["unique_id"], "imported", "done")
            await send(new, slices)  # its manifest names the new box: the old one's is replaced
            await shown(dmp, new, *SLICES)
            await report(new, status="D")
            await shown(dmp, new)
            assert "chain intact" in await drimbox(new, "verify-trail")


async def test_a_medium_is_as_the_schemas_want_it(tmp_path, slices):
    async with running(tmp_path / "old") as old, old.dmp():
        await send(old, slices)
        await report(old)
        [item] = await told(old, 1)
        medium = await exported(old, tmp_path / "media")
        with zipfile.ZipFile(medium) as archive:
            names = archive.namelist()
            folder = "IHE_XDM/SS000001/"
            assert names[:2] == ["INDEX.HTM", "README.TXT"]
            assert {name.removeprefix(folder) for name in names[2:]} == {
                *("METADATA.XML", "KOS_1_1.DCM", "SIGN_1.XML", "CR.TXT", "CR.JSN", "CR.XML")
            }
            metadata = archive.read(f"{folder}METADATA.XML")
            read_schema("xds/lcm.xsd").assertValid(read_xml(metadata, "metadata", 1 << 20))
            described = {one.uri: one for one in read_metadata(metadata).documents}
            assert set(described) == {"KOS_1_1.DCM", "SIGN_1.XML"}
            assert described["KOS_1_1.DCM"].listed.unique_id == item["unique_id"]
            assert described["KOS_1_1.DCM"].listed.entry_uuid == item["entry_uuid"]
            assert read_manifest(archive.read(f"{folder}KOS_1_1.DCM")).uid == item["unique_id"]
        assert medium.stat().st_mode & 0o007 == 0


async def test_what_was_withdrawn_stays_withdrawn_in_the_new_box(tmp_path, slices):
    async with running(tmp_path / "old") as old, old.dmp() as dmp:
        await send(old, slices)
        await report(old)
        await told(old, 1)
        await report(old, status="D")
        await told(old, 2)
        medium = await exported(old, tmp_path / "media")
        with zipfile.ZipFile(medium) as archive:
            [document] = [
                one for one in read_metadata(archive.read("IHE_XDM/SS000001/METADATA.XML")).documents if one.is_manifest
            ]
            assert document.listed.status == DELETED
        async with running(tmp_path / "new", dmp=settings_of(old)) as new:
            assert "1 imported" in await drimbox(new, "xdm", "import", str(medium))
            await send(new, slices)
            await asyncio.sleep(1)  # ten looks of the node at what changed
            assert [item["kind"] for item in await told(new, 1)] == ["withdraw"]
            assert current(dmp) == []


async def test_without_what_only_we_write_the_metadata_are_enough(tmp_path, slices):
    """A medium of another vendor: METADATA.XML, KOS, signature and CR.TXT. Then a rejection note takes all images."""
    async with running(tmp_path / "old") as old, old.dmp() as dmp:
        await send(old, slices)
        await report(old)
        await told(old, 1)
        medium = await exported(old, tmp_path / "media")
        foreign = tmp_path / "KA.zip"
        with zipfile.ZipFile(medium) as archive, zipfile.ZipFile(foreign, "w") as made:
            for name in archive.namelist():
                if not name.endswith(("CR.JSN", "CR.XML")):
                    made.writestr(f"KA202601/{name}", archive.read(name))
        async with running(tmp_path / "new", dmp=settings_of(old)) as new:
            assert "1 imported" in await drimbox(new, "xdm", "import", str(foreign))
            await send(new, slices)
            await shown(dmp, new, *SLICES)
            folder = tmp_path / "note"
            folder.mkdir()
            rejection_note("113001", *(ct(1, number) for number in range(1, 4))).save_as(
                folder / "note.dcm", enforce_file_format=True
            )
            await send(new, folder)
            await shown(dmp, new)


async def test_a_manifest_alone_is_taken_over_and_replaced_by_the_next_report(tmp_path, slices):
    async with running(tmp_path / "old") as old, old.dmp() as dmp:
        await send(old, slices)
        await report(old)
        await told(old, 1)
        kos = tmp_path / "manifest.dcm"
        await drimbox(old, "manifest", STUDY, "-o", str(kos))
        async with running(tmp_path / "new", dmp=settings_of(old)) as new:
            assert "1 imported" in await drimbox(new, "xdm", "import", str(kos))
            await send(new, slices)
            await report(new, status="C")
            await eventually(lambda: [item for item in new.outbox() if item["kind"] == "replace"])
            await eventually(lambda: len(current(dmp)) == 1)


async def test_what_the_node_published_itself_is_not_overwritten(tmp_path, slices):
    async with running(tmp_path / "old") as old, old.dmp():
        await send(old, slices)
        await report(old)
        await told(old, 1)
        medium = await exported(old, tmp_path / "media")
        await report(old, status="C")
        await told(old, 2)
        said = await drimbox(old, "xdm", "import", str(medium), code=1)
        assert "1 refused" in said
        assert "what is imported is older" in said
