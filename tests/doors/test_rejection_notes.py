"""A rejection note sent by DCMTK: what it names is in no answer of any door, and nothing says that it ever was."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from making import STUDY, ct, rejection_note
from network import Site, get, running
from pydicom import Dataset

pytestmark = pytest.mark.skipif(not shutil.which("storescu"), reason="DCMTK is not installed")
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


async def dcmtk(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode(errors="replace")


async def send(site: Site, folder: Path, *made: Dataset) -> None:
    for number, one in enumerate(made):
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    files = [str(folder / f"{number}.dcm") for number in range(len(made))]
    await dcmtk("storescu", "-R", "-aec", "NODE", "127.0.0.1", str(site.node.dicom_port), *files)


async def told(site: Site, folder: Path) -> tuple[set[str], ...]:
    """SOP Instance UIDs of the study by QIDO-RS, by its metadata, by C-FIND and by C-GET."""
    url = f"{site.node.url}/dicom-web/studies/{STUDY}"
    found = []
    for path in ("instances", "metadata"):
        status, body = await asyncio.to_thread(get, f"{url}/{path}", "application/dicom+json")
        found.append({it["00080018"]["Value"][0] for it in json.loads(body)} if status == 200 and body else set())
    place, root = ("127.0.0.1", str(site.node.dicom_port)), ("-aec", "NODE", "-S")
    series = await dcmtk(
        "findscu", *root, "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={STUDY}",
        "-k", "SeriesInstanceUID=", *place,
    )  # fmt: skip
    asked = set()
    for number in (1, 2, 99):
        if f"[{STUDY}.{number}" in series:
            below = await dcmtk(
                "findscu", *root, "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={STUDY}",
                "-k", f"SeriesInstanceUID={STUDY}.{number}", "-k", "SOPInstanceUID=", *place,
            )  # fmt: skip
            asked |= {f"{STUDY}.{number}.{last}" for last in range(1, 9) if f"{STUDY}.{number}.{last}" in below}
    got = folder / f"got-{len(list(folder.iterdir()))}"
    got.mkdir()
    arguments = ["getscu", *root, "-od", str(got), "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"]
    await dcmtk(*arguments, *place)
    return (*found, asked, {path.name.partition(".")[2] for path in got.iterdir()})


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_note_hides_what_it_names_from_every_door(tmp_path: Path, workers: int) -> None:
    files, got = tmp_path / "files", tmp_path / "got"
    files.mkdir()
    got.mkdir()
    one, two, three = ct(1, 1), ct(1, 2), ct(2, 1)
    async with running(tmp_path, node={"workers": workers}) as site:
        await send(site, files, one, two, three)
        everything = {it.SOPInstanceUID for it in (one, two, three)}
        assert await told(site, got) == (everything,) * 4
        await send(site, files, rejection_note("113037", two, three))
        assert await told(site, got) == ({one.SOPInstanceUID},) * 4
        url = f"{site.node.url}/dicom-web/studies/{STUDY}/series"
        for path in (f"{STUDY}.1/instances/{two.SOPInstanceUID}", f"{STUDY}.2", f"{STUDY}.99"):
            status, _ = await asyncio.to_thread(get, f"{url}/{path}", DICOM)
            assert status == 404
        await send(site, files, rejection_note("113001", one, number=2))
        assert await told(site, got) == (set(),) * 4
        status, body = await asyncio.to_thread(get, f"{site.node.url}/dicom-web/studies")
        assert (status, body.count(b'"0020000D"')) in ((200, 0), (204, 0))


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_operator_takes_a_wrong_note_back_while_the_node_runs(tmp_path: Path, workers: int) -> None:
    files, got = tmp_path / "files", tmp_path / "got"
    files.mkdir()
    got.mkdir()
    one, two = ct(1, 1), ct(1, 2)
    note = rejection_note("113037", one)
    both = {one.SOPInstanceUID, two.SOPInstanceUID}
    async with running(tmp_path, node={"workers": workers}) as site:
        await send(site, files, one, two, note)
        assert await told(site, got) == ({two.SOPInstanceUID},) * 4
        drimbox = (sys.executable, "-m", "drimbox", "rejections")
        config = ("--config", str(site.node.folder / f"{site.node.name}.toml"))
        listed = await dcmtk(*drimbox, "list", *config)
        assert note.SOPInstanceUID in listed and "patient safety" in listed
        undone = await dcmtk(*drimbox, "undo", note.SOPInstanceUID, *config)
        assert undone == f"no longer rejected by {note.SOPInstanceUID}: 1\n"
        assert await told(site, got) == (both,) * 4
        await send(site, files, note)
        assert await told(site, got) == (both,) * 4
    trail = (site.folder / "node" / "trail" / "commands.jsonl").read_text()
    assert f"rejection {note.SOPInstanceUID} undone" in trail
