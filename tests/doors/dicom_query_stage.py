"""A node's own archive with its DIMSE door open, filled by its own Ingest, for the tests of query and retrieve."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from dicom_scp_stage import Stage, open_door
from pydicom import Dataset

from drimbox.audit.trail import Trail
from drimbox.dicom.part10 import InMemory, read_preface
from drimbox.flows.admit import Admit
from drimbox.flows.ingest import Ingest
from drimbox.flows.retrieve import Retrieve
from drimbox.pixels.cache import FrameCache
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool
from drimbox.settings import Settings
from drimbox.storage.archive import Archive


@dataclass(frozen=True)
class House:
    """The door, what is behind it, and the file of the trail."""

    stage: Stage
    archive: Archive
    ingest: Ingest
    retrieve: Retrieve
    trail: Path

    def keep(self, made: Dataset) -> None:
        """Keep an instance as if it had been sent."""
        buffer = BytesIO()
        made.save_as(buffer, enforce_file_format=True)
        content = buffer.getvalue()
        preface = read_preface(InMemory(content))
        spool = self.ingest.open(preface.sop_class_uid, preface.sop_uid, preface.transfer_syntax)
        spool.write(memoryview(content)[preface.data_set_offset :])
        self.stage.call(self.ingest.instance(spool))

    def kept(self, study_uid: str) -> dict[str, bytes]:
        """Data set bytes by SOP Instance UID."""
        kept = {}
        for held in self.stage.call(self.archive.held(study_uid)):
            with self.archive.open(held) as file:
                kept[held.ref.sop_uid] = file.read_at(0, file.size)[held.data_set_offset :]
        return kept


@contextmanager
def open_house(folder: Path, **settings: Any) -> Iterator[House]:
    """settings: of the door."""
    archive, trail = Archive(folder / "own"), Trail(folder / "trail")
    try:
        admit = Admit(Settings(), trail)
        pixels = Pixels(Pool(1), FrameCache(folder / "made", 2**20))
        ingest, retrieve = Ingest(archive, admit, 2**30), Retrieve(archive, admit, pixels)
        with open_door(ingest, retrieve, **settings) as stage:
            stage.call(pixels.start())
            try:
                yield House(stage, archive, ingest, retrieve, folder / "trail")
            finally:
                stage.call(pixels.stop())
    finally:
        trail.close()
        archive.close()
