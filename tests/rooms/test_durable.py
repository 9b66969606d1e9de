"""The gate to disk: what is visible when, and what a failing medium leads to."""

import errno
import os
from concurrent.futures import CancelledError

import pytest

from drimbox import durable
from drimbox.durable import AppendLog, Volume, lock_folder, write_file
from drimbox.errors import NoSpace, TooLarge, Unavailable
from drimbox.group_commit import GroupCommit


@pytest.fixture(params=["nameless", "named"])
def volume(tmp_path, request, monkeypatch):
    """The same promises on file systems with and without O_TMPFILE."""
    if request.param == "named":
        monkeypatch.setattr(Volume, "_takes_nameless", lambda self: False)
    volume = Volume(tmp_path / "archive", reserve_bytes=0)
    yield volume
    volume.close()


class Recording(durable.Disk):
    """The real disk, with the order of the calls; `failing` names a call and the errno it answers from now on."""

    def __init__(self):
        self.calls = []
        self.failing = {}

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in ("write", "fdatasync", "fsync", "link", "open", "mkdir"):
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


def test_a_spool_is_invisible_until_placed_and_whole_after(volume):
    spool = volume.spool(b"preface", 100)
    spool.write(b"data")
    spool.write(memoryview(b" set"))
    assert list(volume.root.rglob("*.dcm")) == []
    spool.sync()
    volume.place(spool, "files/ab/one.dcm")
    volume.sync_folder("files/ab")
    assert (volume.root / "files/ab/one.dcm").read_bytes() == b"prefacedata set"
    assert spool.size == 15
    assert spool.read_at(7, 4) == b"data"
    spool.discard()
    spool.discard()
    assert list((volume.root / "spool").iterdir()) == []


def test_the_digest_is_of_the_data_set_alone(volume):
    # SHA-256 of "abc", FIPS 180-2 appendix B.1
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    spool = volume.spool(b"any preface", 100)
    spool.write(b"abc")
    assert spool.digest().hex() == known
    spool.discard()


def test_a_name_that_is_taken_is_given_to_the_new_bytes_in_one_step(volume):
    for content in (b"damaged", b"sound"):
        spool = volume.spool(b"", 100)
        spool.write(content)
        spool.sync()
        volume.place(spool, "files/x.dcm")
        spool.discard()
    assert (volume.root / "files/x.dcm").read_bytes() == b"sound"
    volume.name_again("files/x.dcm", "aside/y.dcm")
    volume.name_again("files/x.dcm", "aside/y.dcm")
    assert (volume.root / "aside/y.dcm").read_bytes() == b"sound"
    assert list((volume.root / "spool").iterdir()) == []


def test_what_a_crash_left_of_spools_is_swept_by_whoever_has_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(Volume, "_takes_nameless", lambda self: False)
    live = Volume(tmp_path / "archive", reserve_bytes=0)
    spool = live.spool(b"", 100)
    beside = Volume(tmp_path / "archive", reserve_bytes=0)  # a command beside a running node
    assert spool.path.exists()
    beside.sweep()
    assert not spool.path.exists()
    spool.discard()


def test_an_empty_folder_goes_and_comes_back(volume):
    for _ in range(2):
        spool = volume.spool(b"", 100)
        volume.place(spool, "files/ab/x.dcm")
        spool.discard()
        volume.remove_folder("files/ab")
        assert (volume.root / "files/ab/x.dcm").exists()
        volume.remove("files/ab/x.dcm")
        volume.remove_folder("files/ab")
        assert not (volume.root / "files/ab").exists()


def test_too_many_open_files_is_no_fault_of_the_medium(tmp_path, disk):
    volume = Volume(tmp_path / "a", reserve_bytes=0)
    disk.failing["open"] = errno.EMFILE
    with pytest.raises(Unavailable, match="too much at once"):
        volume.spool(b"", 10)
    disk.failing.clear()
    volume.spool(b"", 10).discard()
    volume.close()


def test_the_limit_is_kept_to_the_byte(volume):
    spool = volume.spool(b"1234", 10)
    spool.write(b"567890")
    with pytest.raises(TooLarge):
        spool.write(b"x")
    spool.discard()


def test_bytes_are_synced_before_the_name_and_the_name_before_the_return(tmp_path, disk):
    volume = Volume(tmp_path / "a", reserve_bytes=0)
    spool = volume.spool(b"", 10)
    disk.calls.clear()
    spool.write(b"x")
    spool.sync()
    volume.place(spool, "f/x.dcm")
    volume.sync_folder("f")
    spool.discard()
    volume.close()
    # write, sync, make the folder durable in its parent, open it, name the file, make the name durable
    assert disk.calls == ["write", "fdatasync", "mkdir", "open", "fsync", "open", "link", "fsync"]


@pytest.mark.parametrize("call", ["write", "fdatasync", "link", "fsync"])
def test_an_io_error_makes_the_volume_suspect(tmp_path, disk, call):
    volume = Volume(tmp_path / "a", reserve_bytes=0)
    volume._folder("f")
    spool = volume.spool(b"", 10)
    disk.failing[call] = errno.EIO
    with pytest.raises(Unavailable):
        spool.write(b"x")
        spool.sync()
        volume.place(spool, "f/x.dcm")
        volume.sync_folder("f")
    spool.discard()
    assert volume.suspect
    disk.failing.clear()
    with pytest.raises(Unavailable, match="I/O error"):
        volume.spool(b"", 10)
    volume.close()


def test_a_full_volume_refuses_and_recovers_alone(tmp_path, disk):
    volume = Volume(tmp_path / "a", reserve_bytes=0)
    spool = volume.spool(b"", 10)
    disk.failing["write"] = errno.ENOSPC
    with pytest.raises(NoSpace):
        spool.write(b"x")
    spool.discard()
    disk.failing.clear()
    spool = volume.spool(b"", 10)
    spool.write(b"x")
    spool.discard()
    assert not volume.suspect
    volume.close()


def test_the_reserve_is_not_given_to_images(tmp_path):
    volume = Volume(tmp_path, reserve_bytes=1 << 62)
    with pytest.raises(NoSpace):
        volume.spool(b"", 10)
    volume.close()


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
        group.submit(1).result(5)
    failing[0] = False
    assert group.submit(2).result(5) == 2
    waiting = group.submit(3)
    waiting.cancel()
    assert group.submit(4).result(5) == 4
    group.close()
    if waiting.cancelled():
        with pytest.raises(CancelledError):
            waiting.result()
