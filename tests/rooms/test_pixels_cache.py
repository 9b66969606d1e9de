"""The cache of frames: bounded, disposable, and never a wrong byte."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import imagecodecs
import numpy as np
import pytest
from keeping import keep, native

from drimbox.durable import write_disposable
from drimbox.pixels import cache as cache_module
from drimbox.pixels.cache import FrameCache
from drimbox.pixels.images import Pixels
from drimbox.pixels.pool import Pool

JPEG_LS, EXPLICIT = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.1"
STUDY = "1.2.3"


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_frame_is_found_again_also_by_the_next_node(tmp_path):
    cache = FrameCache(tmp_path, 2**20)
    assert cache.find(STUDY, "a") is None
    cache.keep(STUDY, "a", b"frame")
    assert cache.find(STUDY, "a") == b"frame"
    assert FrameCache(tmp_path, 2**20).find(STUDY, "a") == b"frame"


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-1] + b"?", lambda b: b"", lambda b: b + b"more"])
def test_a_frame_that_was_torn_or_changed_is_not_there(tmp_path, damage):
    cache = FrameCache(tmp_path, 2**20)
    cache.keep(STUDY, "a", b"frame")
    (file,) = files(tmp_path)
    file.write_bytes(damage(file.read_bytes()))
    assert cache.find(STUDY, "a") is None
    assert files(tmp_path) == []
    cache.keep(STUDY, "a", b"frame")
    assert cache.find(STUDY, "a") == b"frame"


def test_the_longest_unused_leave_first(tmp_path):
    cache = FrameCache(tmp_path, 16 * 4096)
    for name in range(16):
        cache.keep(STUDY, str(name), bytes(4000))
    assert cache.find(STUDY, "0") is not None
    cache.keep(STUDY, "new", bytes(4000))
    assert cache.find(STUDY, "0") is not None
    assert cache.find(STUDY, "1") is None
    assert sum(4096 for _ in files(tmp_path)) <= 16 * 4096


def test_the_bound_holds_whatever_many_threads_write_at_once(tmp_path, monkeypatch):
    together = Barrier(8)

    def write_together(path, data):
        together.wait(60)  # until each of them made room
        write_disposable(path, data)

    cache = FrameCache(tmp_path, 16 * 4096)
    for name in range(16):
        cache.keep(STUDY, str(name), bytes(4000))
    monkeypatch.setattr(cache_module, "write_disposable", write_together)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: cache.keep(STUDY, f"new {name}", bytes(4000)), range(8)))
    assert len(files(tmp_path)) == 16
    assert all(cache.find(STUDY, f"new {name}") for name in range(8))


def test_a_smaller_bound_is_kept_to_at_start(tmp_path):
    cache = FrameCache(tmp_path, 16 * 4096)
    for name in range(16):
        cache.keep(STUDY, str(name), bytes(4000))
    FrameCache(tmp_path, 4 * 4096)
    assert len(files(tmp_path)) == 4
    FrameCache(tmp_path, 0)
    assert not tmp_path.exists()


def test_a_study_that_goes_takes_its_frames_along(tmp_path):
    cache = FrameCache(tmp_path, 2**20)
    cache.keep(STUDY, "a", b"frame")
    cache.keep("1.2.4", "a", b"other")
    cache.forget(STUDY)
    assert cache.find(STUDY, "a") is None
    assert cache.find("1.2.4", "a") == b"other"
    assert len(list(tmp_path.iterdir())) == 1


def test_no_name_on_disk_tells_a_uid(tmp_path):
    FrameCache(tmp_path, 2**20).keep("1.2.250.1", "1.2.250.2", b"frame")
    assert all("250" not in str(path.relative_to(tmp_path)).split("/") for path in files(tmp_path))


def test_a_disk_that_refuses_costs_nothing_but_the_frame(tmp_path):
    if os.geteuid() == 0:
        (tmp_path / "cache").mkdir()
        cache = FrameCache(tmp_path / "cache", 2**20)
        (tmp_path / "cache").rmdir()
        (tmp_path / "cache").write_bytes(b"in the way")
    else:
        cache = FrameCache(tmp_path / "cache", 2**20)
        (tmp_path / "cache").chmod(stat.S_IRUSR)
    cache.keep(STUDY, "a", b"frame")
    assert cache.find(STUDY, "a") is None


async def test_a_frame_is_made_once_and_then_found(tmp_path):
    picture = np.arange(256, dtype="<u2").reshape(16, 16)
    image = keep(tmp_path, native(EXPLICIT, picture.tobytes()))
    cache = FrameCache(tmp_path / "cache", 2**20)
    room = Pixels(Pool(1), cache)
    await room.start()
    try:
        (first,) = [frame async for frame in room.frames(image, [1], JPEG_LS)]
        assert np.array_equal(imagecodecs.jpegls_decode(first), picture)
        assert len(files(tmp_path / "cache")) == 1
        image.place.path.unlink()
        assert [frame async for frame in room.frames(image, [1], JPEG_LS)] == [first]
    finally:
        await room.stop()
