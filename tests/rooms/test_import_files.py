"""`drimbox import`, `scrub` and `rebuild-index`, as an operator meets them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from archiving import flip_at
from ledger import kept_records
from making import STUDY, ct, data_set_bytes

from drimbox import cli
from drimbox.audit.trail import verify_trail
from drimbox.durable import Volume, lock_folder
from drimbox.storage.archive import Archive


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The folder of a node that is not running, and its configuration in force."""
    for key in os.environ:
        if key.startswith("DRIMBOX_"):
            monkeypatch.delenv(key)
    monkeypatch.setenv("DRIMBOX_NODE__DATA_DIR", str(tmp_path / "node"))
    return tmp_path / "node"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["drimbox", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code or 0, said.out, said.err

    return run


def save(made, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def held(node):
    """SOP Instance UID -> data set bytes."""

    async def read(archive):
        return {
            one.ref.sop_uid: await archive.read(one, one.data_set_offset, one.size_bytes - one.data_set_offset)
            for one in await archive.held(STUDY)
        }

    archive = Archive(node / "own")
    try:
        return asyncio.run(read(archive))
    finally:
        archive.close()


def test_files_and_folders_come_in_and_each_is_told(node, run, tmp_path):
    disc = tmp_path / "disc"
    save(ct(1, 1), disc / "A" / "1.dcm")
    (disc / "B").mkdir()
    (disc / "B" / "bare").write_bytes(data_set_bytes(ct(1, 2)))
    save(ct(1, 1), disc / "C" / "again.dcm")
    save(ct(1, 1, PixelData=bytes(512)), disc / "D" / "other.dcm")
    (disc / "DICOMDIR").write_bytes(b"of no interest")
    (disc / "E").mkdir()
    (disc / "E" / "readme.txt").write_text("not DICOM, and long enough to be read as one" * 10)
    (disc / "E" / "cut.dcm").write_bytes((disc / "A" / "1.dcm").read_bytes()[:200])
    single = save(ct(1, 3), tmp_path / "single.dcm")
    # Files come in several at a time: which of two versions is the first is only certain when it came before.
    code, out, _ = run("import", disc / "A")
    assert (code, out) == (0, "1 kept, 0 already there, 0 set aside, 0 refused\n")
    code, out, err = run("import", disc, single)
    assert code == 1
    assert out == "2 kept, 2 already there, 1 set aside, 2 refused\n"
    assert {line.split(":")[0] for line in err.splitlines()} == {
        str(disc / "E" / "readme.txt"),
        str(disc / "E" / "cut.dcm"),
    }
    assert held(node) == {made.SOPInstanceUID: data_set_bytes(made) for made in (ct(1, 1), ct(1, 2), ct(1, 3))}
    code, out, _ = run("import", disc / "A", single)
    assert (code, out) == (0, "0 kept, 2 already there, 0 set aside, 0 refused\n")
    assert verify_trail(node / "trail" / "trail.jsonl") == 6  # began and ended, three times


def test_beside_a_running_node_nothing_is_imported(node, run, tmp_path):
    lock = lock_folder(node)
    code, out, err = run("import", save(ct(), tmp_path / "1.dcm"))
    os.close(lock)
    assert (code, out) == (1, "")
    assert "drimbox send" in err


def test_a_full_volume_ends_the_import_and_says_what_came_in(node, run, tmp_path, monkeypatch):
    run("import", save(ct(1, 1), tmp_path / "1.dcm"))
    monkeypatch.setattr(Volume.__init__, "__defaults__", (1 << 62,))
    code, out, err = run("import", save(ct(1, 2), tmp_path / "2.dcm"))
    assert (code, out) == (1, "0 kept, 0 already there, 0 set aside, 0 refused\n")
    assert "make room" in err


def test_scrub_names_what_is_damaged_and_the_rebuilt_index_leaves_it_out(node, run, tmp_path):
    files = [save(ct(1, number), tmp_path / f"{number}.dcm") for number in (1, 2, 3)]
    run("import", *files)
    code, out, _ = run("scrub")
    assert (code, out.splitlines()[-1]) == (0, "3 instances, 0 MiB: 0 damaged, 0 missing")
    (pack, offset, size), *_ = kept_records(node / "own")
    flip_at(node / "own" / pack, offset + size - 1)
    damaged = f"{node / 'own' / pack}@{offset}"
    code, out, _ = run("scrub", "--rate", "1000")
    assert code == 1
    assert out.startswith(f"damaged  {damaged}  {STUDY}.1.")
    code, out, _ = run("rebuild-index")
    assert code == 0
    assert out.splitlines()[0] == f"damaged  {damaged}"
    assert out.splitlines()[-1] == "2 instances, 0 set aside, 1 damaged; the outbox is as it was"
    code, out, _ = run("import", *files)
    assert (code, out) == (0, "1 kept, 2 already there, 0 set aside, 0 refused\n")
    assert run("scrub")[0] == 0


def test_a_rebuild_needs_the_folder_for_itself_and_an_archive(node, run):
    code, _, err = run("rebuild-index")
    assert code == 1
    assert "no archive" in err
    (node / "own").mkdir(parents=True)
    lock = lock_folder(node)
    code, _, err = run("rebuild-index")
    os.close(lock)
    assert code == 1
    assert "in use by another node" in err


def test_a_node_whose_index_is_lost_does_not_start_and_says_what_to_do(node, run, tmp_path):
    run("import", save(ct(), tmp_path / "1.dcm"))
    (node / "own" / "index.db").unlink()
    environment = {**os.environ, "DRIMBOX_DICOM__PORT": "0", "DRIMBOX_HTTP__PORT": "0", "DRIMBOX_HL7__PORT": "0"}
    served = subprocess.run(
        [sys.executable, "-m", "drimbox", "serve"], env=environment, capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert served.returncode == 1
    assert served.stdout == ""
    assert "drimbox rebuild-index" in served.stderr
    assert run("rebuild-index")[0] == 0
    assert len(held(node)) == 1
