"""A disk that stands still: who stores waits for it, and is told nothing before it moves; nobody else waits."""

import os
import sys
import threading
from pathlib import Path

import pytest
from making import ct, data_set_bytes

from drimbox import durable

sys.path.append(str(Path(__file__).parents[1] / "doors"))
from dicom_query_stage import open_house
from raw_scu import CT, RawScu, build_store


class Standing(durable.Disk):
    """Packs are not synced before `go`. reached: one is to be."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def fdatasync(self, file: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").endswith(".pack"):
            self.reached.set()
            assert self.go.wait(60)
        super().fdatasync(file)


@pytest.mark.parametrize("size_bytes", [2**16, 2**21])
def test_only_who_stores_waits_and_is_not_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    made = ct(1, 1, Rows=2**8, Columns=size_bytes // 2**9, PixelData=os.urandom(size_bytes))
    standing = Standing()
    with open_house(tmp_path, receivers=1) as house, RawScu(house.stage.place, 30) as scu:
        monkeypatch.setattr(durable, "disk", standing)
        try:
            scu.associate()
            scu.send(build_store(1, CT, made.SOPInstanceUID, data_set_bytes(made)))
            assert standing.reached.wait(30)
            with RawScu(house.stage.place, 30) as other:
                other.associate()
                assert other.echo().status == 0
                other.release()
            assert house.kept(made.StudyInstanceUID) == {}
            scu.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                scu.receive()
        finally:
            standing.go.set()
        scu.socket.settimeout(30)
        assert scu.response().status == 0
        assert list(house.kept(made.StudyInstanceUID)) == [made.SOPInstanceUID]
        scu.release()
