"""Another DRIMbox names the manifest it read: the one in force opens what it lists, and nothing else."""

import asyncio
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from making import STUDY, ct, rejection_note
from network import AT, Site, eventually, running
from pydicom.dataset import FileDataset

from drimbox.kos.read import read_manifest
from drimbox.pacs.store import send_files
from drimbox.sandbox.ris import Study, build_oru, send_report

EXAM = Study(STUDY, "IPP101", "ACC1", "CT")
IMAGES = [ct(1, 1), ct(1, 2), ct(2, 1)]
RANGES = 'multipart/related; type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1;q=0.4;boundary=**,'


async def acquire(site: Site, folder: Path, *images: FileDataset) -> None:
    folder.mkdir()
    for number, image in enumerate(images):
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    await asyncio.to_thread(send_files, [folder], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")


async def report(site: Site, **options: Any) -> None:
    message = build_oru(EXAM, AT, **options)
    assert "MSA|AA|" in await asyncio.to_thread(send_report, "127.0.0.1", site.node.hl7_port, message)


def current(dmp: Any) -> str:
    """SOP Instance UID of the manifest the DMP shows."""
    return next((d.unique_id for d in dmp.app.documents() if d.status.endswith("Approved")), "")


def listed(dmp: Any) -> set[str]:
    """What that one lists."""
    found = [d for d in dmp.app.documents() if d.status.endswith("Approved")]
    return (
        {i.sop_uid for series in read_manifest(found[0].content).series for i in series.instances} if found else set()
    )


async def asked(site: Site, path: str, manifest_uid: str = "") -> tuple[int, int]:
    """Ask as a DRIMbox does; the status, and how many parts came."""
    headers = {"Accept": RANGES, **({"KOS-SOPInstanceUID": manifest_uid} if manifest_uid else {})}
    request = urllib.request.Request(f"{site.node.url}/dicom-web/studies/{STUDY}{path}", headers=headers)

    def ask() -> tuple[int, int]:
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, len(re.findall(rb"(?i)content-type: application/dicom", answer.read()))
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code, 0

    return await asyncio.to_thread(ask)


async def settled(site: Site, jobs: int) -> None:
    def done() -> bool:
        items = site.outbox()
        return len(items) == jobs and all(item["state"] == "done" for item in items)

    await eventually(done)


@pytest.mark.parametrize("replaced_s", [0, 3600])
async def test_the_manifest_that_is_named_opens_what_it_lists_while_it_is_in_force(
    tmp_path: Path, replaced_s: int
) -> None:
    series, instance = f"/series/{STUDY}.1", f"/series/{STUDY}.1/instances/{STUDY}.1.1"
    async with running(tmp_path, kos={"replaced_s": replaced_s}) as site, site.dmp() as dmp:
        await acquire(site, tmp_path / "first", *IMAGES)
        await report(site)
        await settled(site, 1)
        first = current(dmp)
        for path, parts in (("", 3), (series, 2), (instance, 1)):
            assert await asked(site, path, first) == await asked(site, path) == (200, parts)
        assert await asked(site, series, "1.2.3") == (404, 0)
        assert await asked(site, series, "not-a-uid") == (400, 0)

        await acquire(site, tmp_path / "note", rejection_note("113001", IMAGES[0]))
        await acquire(site, tmp_path / "late", ct(1, 3))
        await eventually(lambda: listed(dmp) == {f"{STUDY}.1.2", f"{STUDY}.1.3", f"{STUDY}.2.1"})
        await eventually(lambda: all(item["state"] == "done" for item in site.outbox()))
        second = current(dmp)
        assert await asked(site, series, second) == (200, 2)  # the second and the late one
        in_common = (200, 1) if replaced_s else (404, 0)
        assert await asked(site, series, first) == in_common
        assert await asked(site, instance, first) == (404, 0)

        await report(site, status="D")
        await eventually(lambda: not current(dmp))
        await eventually(lambda: all(item["state"] == "done" for item in site.outbox()))
        assert {await asked(site, series, uid) for uid in (first, second)} == {(404, 0)}
