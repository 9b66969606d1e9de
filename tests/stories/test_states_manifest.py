"""A presentation state the named manifest lists opens no image that it does not."""

import asyncio
from pathlib import Path

import pytest
from making import STUDY, ct
from network import eventually, running
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID
from test_exams_manifest import acquire, current, report, settled

STATE = f"/series/{STUDY}.5/instances/{STUDY}.5.1"


def state(about: FileDataset) -> FileDataset:
    made = ct(5, 1, Modality="PR", PixelData=None, Rows=None, Columns=None)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.11.1")
    image, series = Dataset(), Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = about.SOPClassUID, about.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedImageSequence = about.SeriesInstanceUID, Sequence([image])
    made.ReferencedSeriesSequence = Sequence([series])
    return made


async def drawn(url: str, path: str, manifest_uid: str) -> int:
    """The status of a picture that is asked for as a DRIMbox does."""
    named = ["-H", f"KOS-SOPInstanceUID: {manifest_uid}"] if manifest_uid else []
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *named, f"{url}/dicom-web/studies/{STUDY}{path}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    return int((await asyncio.wait_for(process.communicate(), 120))[0])


@pytest.mark.slow
async def test_a_state_opens_only_images_of_the_manifest_that_is_named(tmp_path: Path) -> None:
    late = ct(1, 3)
    async with running(tmp_path, kos={"replaced_s": 3600}) as site, site.dmp() as dmp:
        await acquire(site, tmp_path / "first", ct(1, 1), state(late))
        await report(site)
        await settled(site, 1)
        first = current(dmp)
        await acquire(site, tmp_path / "late", late)
        await eventually(lambda: len(dmp.app.documents()) > 1)
        await eventually(lambda: all(item["state"] == "done" for item in site.outbox()))
        second, url = current(dmp), site.node.url
        image = f"/series/{STUDY}.1/instances/{STUDY}.1.3"
        assert [await drawn(url, f"{image}/rendered", uid) for uid in (first, second, "")] == [404, 200, 200]
        assert [await drawn(url, f"{STATE}/rendered", uid) for uid in (first, second, "")] == [404, 200, 200]
        assert [await drawn(url, f"{STATE}/thumbnail", uid) for uid in (first, second, "")] == [200, 200, 200]
