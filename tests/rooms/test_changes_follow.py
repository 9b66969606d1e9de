"""What was acknowledged is seen by whoever asks next, though its rows come behind the answer."""

from pathlib import Path

from making import ct, data_set_bytes

from drimbox.dicom.scan import scan
from drimbox.storage.archive import Archive


async def test_a_study_has_changed_as_soon_as_its_instance_was_acknowledged(tmp_path: Path) -> None:
    """Else a report is published first, and its exam is due once more for images it had seen."""
    archive = Archive(tmp_path)
    try:
        for number in range(20):
            made = ct(1, 1, f"1.2.826.0.1.3680043.8.498.{number}")
            spool = archive.open_spool(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, 2**24)
            spool.write(data_set_bytes(made))
            await archive.keep(spool, scan)
            changes = await archive.changed_studies(100)
            assert [change.study_uid for change in changes] == [made.StudyInstanceUID]
            await archive.looked_at(changes)
    finally:
        archive.close()
