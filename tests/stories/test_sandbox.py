"""The whole network, as a user runs it: `drimbox sandbox --once`."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DATA = Path(os.environ.get("DRIMBOX_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def sandbox_once(tmp_path, *arguments):
    command = [sys.executable, "-m", "drimbox", "sandbox", "--once", "--data", str(tmp_path / "network"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_an_exam_walks_through_the_whole_network(tmp_path):
    done = sandbox_once(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "10 instances stored, 1 manifest published, 10 images retrieved, all pixels equal\n"


def test_sigterm_ends_the_sandbox_and_all_it_started(tmp_path):
    command = [sys.executable, "-m", "drimbox", "sandbox", "--data", str(tmp_path / "network")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sandbox:
        assert any("Ctrl-C" in line for line in iter(sandbox.stdout.readline, ""))
        assert len(nodes_in(tmp_path)) == 2
        sandbox.send_signal(signal.SIGTERM)
        assert sandbox.wait(60) == 0
    assert nodes_in(tmp_path) == []


def nodes_in(folder):
    """The processes whose command names a configuration inside `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/network/" in entry.read_text():
                found.append(entry.parent.name)
    return found


def test_a_folder_that_holds_no_study_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    done = sandbox_once(tmp_path, "--study", str(tmp_path / "empty"))
    assert done.returncode == 2
    assert done.stderr == "drimbox: study: there is no DICOM file to send\n"


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("xdsi-ct-2series", "22 instances stored, 1 manifest published, 20 images retrieved, all pixels equal"),
        ("xdsi-xa-multiframe", "3 instances stored, 1 manifest published, 1 images retrieved, all pixels equal"),
    ],
)
def test_other_studies_come_through_unchanged(tmp_path, folder, line):
    study = DATA / "series" / folder
    if not study.is_dir():
        pytest.skip(f"{study} is not here: set DRIMBOX_TEST_DATA to the folder of test data")
    done = sandbox_once(tmp_path, "--study", str(study))
    assert (done.returncode, done.stdout.strip()) == (0, line), done.stderr
