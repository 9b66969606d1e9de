"""The gate to disk: what is visible when, and what a failing medium leads to."""

import asyncio
import errno
import os
import threading
from concurrent.futures import CancelledError

import pytest

from drimbox import durable
from drimbox.durable import AppendLog, Volume, lock_folder, new_file, write_file
from drimbox.errors import NoSpace, Unavailable
from drimbox.group_commit import GroupCommit


class Recording(durable.Disk):
    """The real disk, with the order of the calls; `failing` names a call and the errno it answers from now on."""

    def __init__(self):
        self.calls = []
        self.failing = {}

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in ("write", "pwritev", "allocate", "fdatasync", "fsync", "truncate", "open", "mkdir", "punch"):
            return found

        def call(*args, **kwargs):
            self.calls.append(name)
            if name in self.failing:
                raise OSError(self.failing[name], "test")
            return found(*args, **kwargs)

        return call


@pytest.fixture
def disk(monkeypatch):
    recording = Recording()
    monkeypatch.setattr(durable, "disk", recording)
    return recording


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path / "archive", reserve_bytes=0)


def test_a_file_grows_where_its_writer_says(volume):
    file = volume.create("packs/one")
    assert file.write([b"abc", memoryview(b"defg"), b""], 0) == 7
    file.sync()
    file.end = 7
    file.write([b"lost"], 7)
    file.cut()
    assert (volume.root / "packs/one").read_bytes() == b"abcdefg"
    file.close()


def test_what_the_system_writes_in_parts_is_written_whole(volume, monkeypatch):
    class Stingy(durable.Disk):
        def pwritev(self, file, views, offset):
            return os.pwrite(file, b"".join(views)[:3], offset)

    monkeypatch.setattr(durable, "disk", Stingy())
    file = volume.create("one")
    file.write([b"abcde", b"f", b"ghij"], 2)
    file.end = 12
    file.cut()
    assert (volume.root / "one").read_bytes() == b"\0\0abcdefghij"
    file.close()


def test_space_is_taken_ahead_and_given_back(volume):
    file = volume.create("one")
    file.write([b"x"], 0)
    assert (volume.root / "one").stat().st_size == 2**20
    file.end = 1
    file.cut()
    assert (volume.root / "one").stat().st_size == 1
    file.close()


def test_a_file_another_writer_has_is_not_opened(volume):
    file = volume.create("one")
    assert file.lock()
    assert volume.reopen("one", 0) is None
    file.close()
    again = volume.reopen("one", 0)
    again.close()


def test_erased_ranges_are_zeros_and_marks_are_written(volume):
    file = volume.create("one")
    file.write([bytes(range(256)) * 64], 0)
    file.close()
    volume.erase("one", [(0, b"mark")], [(100, 9000)])
    content = (volume.root / "one").read_bytes()
    assert content[:4] == b"mark"
    assert content[4:100] == bytes(range(4, 100))
    assert content[100:9100] == bytes(9000)
    assert content[9100:9104] == bytes(value % 256 for value in range(9100, 9104))


def test_a_file_system_without_holes_gets_zeros_written(volume, disk):
    file = volume.create("one")
    file.write([b"\xff" * 5000], 0)
    file.close()
    disk.failing["punch"] = errno.EOPNOTSUPP
    volume.erase("one", [], [(1000, 3000)])
    content = (volume.root / "one").read_bytes()[:5000]
    assert content == b"\xff" * 1000 + bytes(3000) + b"\xff" * 1000


def test_too_many_open_files_is_no_fault_of_the_medium(volume, disk):
    disk.failing["open"] = errno.EMFILE
    with pytest.raises(Unavailable, match="too much at once"):
        volume.create("one")
    disk.failing.clear()
    volume.create("one").close()


def test_the_name_of_a_new_file_is_durable_before_anything_is_in_it(volume, disk):
    disk.calls.clear()
    file = volume.create("packs/one")
    file.write([b"x"], 0)
    file.sync()
    file.close()
    # The folder and its name in its parent; the file and its name; space, bytes, and the sync that counts.
    assert disk.calls == ["mkdir", "open", "fsync", "open", "open", "fsync", "allocate", "pwritev", "fdatasync"]


@pytest.mark.parametrize("call", ["pwritev", "fdatasync", "allocate", "truncate", "fsync"])
def test_an_io_error_makes_the_volume_suspect(volume, disk, call):
    first = volume.create("first")
    disk.failing[call] = errno.EIO
    with pytest.raises(Unavailable):
        file = volume.create("one")
        file.write([b"x"], 0)
        file.sync()
        file.cut()
    assert volume.suspect
    disk.failing.clear()
    for attempt in (lambda: volume.create("two"), lambda: first.write([b"x"], 0), first.sync, volume.check_room):
        with pytest.raises(Unavailable, match="I/O error"):
            attempt()
    first.close()


@pytest.mark.parametrize("call", ["pwritev", "allocate"])
def test_a_full_volume_refuses_and_recovers_alone(volume, disk, call):
    file = volume.create("one")
    disk.failing[call] = errno.ENOSPC
    with pytest.raises(NoSpace):
        file.write([b"x"], 0)
    disk.failing.clear()
    file.write([b"x"], 0)
    assert not volume.suspect
    file.close()


def test_the_reserve_is_not_given_to_images(tmp_path):
    volume = Volume(tmp_path, reserve_bytes=1 << 62)
    with pytest.raises(NoSpace):
        volume.check_room()
    file = volume.create("one")
    with pytest.raises(NoSpace):
        file.write([b"x"], 0)
    file.close()


def test_a_second_node_in_the_same_folder_is_refused(tmp_path):
    first = lock_folder(tmp_path)
    with pytest.raises(Unavailable, match="another node"):
        lock_folder(tmp_path)
    os.close(first)
    os.close(lock_folder(tmp_path))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, disk):
    file = tmp_path / "state"
    write_file(file, b"one")
    disk.failing["fsync"] = errno.EIO
    with pytest.raises(OSError, match="test"):
        write_file(file, b"two")
    assert file.read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_file_written_bit_by_bit_has_its_name_once_it_is_whole_and_durable(tmp_path, disk):
    path = tmp_path / "medium.zip"
    path.write_bytes(b"old")
    with new_file(path) as file:
        file.write(b"ne")
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o007 == 0
    assert disk.calls.count("fsync") == 2  # the file, then the folder
    with pytest.raises(KeyError), new_file(path) as file:
        file.write(b"half")
        raise KeyError
    disk.failing["fsync"] = errno.EIO
    with pytest.raises(OSError), new_file(path) as file:
        file.write(b"not durable")
    assert [entry.name for entry in tmp_path.iterdir()] == ["medium.zip"]
    assert path.read_bytes() == b"new"


def test_an_append_log_grows_and_is_cut(tmp_path):
    log = AppendLog(tmp_path / "x" / "log")
    log.append(b"one\n")
    log.append(b"tw")
    log.cut(4)
    log.append(b"two\n")
    log.close()
    assert (tmp_path / "x" / "log").read_bytes() == b"one\ntwo\n"


def test_a_group_is_answered_after_its_commit_and_each_gets_its_own_result():
    groups = []

    def commit(works):
        groups.append(list(works))
        return [ValueError("odd") if work % 2 else work * 10 for work in works]

    group = GroupCommit("test", commit)
    futures = [group.submit(number) for number in range(4)]
    group.close()
    assert [future.exception() is None for future in futures] == [True, False, True, False]
    assert futures[2].result() == 20
    assert sorted(work for group in groups for work in group) == [0, 1, 2, 3]


def test_a_group_that_cannot_commit_fails_all_of_its_callers_and_the_next_group_goes_on():
    failing = [True]

    def commit(works):
        if failing[0]:
            raise OSError("medium")
        return list(works)

    group = GroupCommit("test", commit)
    with pytest.raises(OSError, match="medium"):
        group.submit(1).result(60)
    failing[0] = False
    assert group.submit(2).result(60) == 2
    waiting = group.submit(3)
    waiting.cancel()
    assert group.submit(4).result(60) == 4
    group.close()
    if waiting.cancelled():
        with pytest.raises(CancelledError):
            waiting.result()


async def test_coroutines_wait_for_a_group_too_and_a_cancelled_one_holds_up_nobody():
    entered, go = threading.Event(), threading.Event()

    def commit(works):
        entered.set()
        go.wait(60)
        return [ValueError("odd") if work % 2 else work * 10 for work in works]

    group = GroupCommit("test", commit)
    first = asyncio.create_task(group.wait(0))
    await asyncio.to_thread(entered.wait, 60)
    others = [asyncio.create_task(group.wait(number)) for number in (1, 2, 4)]
    await asyncio.sleep(0)
    others[1].cancel()
    go.set()
    results = await asyncio.gather(first, *others, return_exceptions=True)
    assert (results[0], results[3]) == (0, 40)
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], asyncio.CancelledError)
    group.close()
