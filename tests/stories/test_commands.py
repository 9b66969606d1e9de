"""Commands of the operator, as a shell runs them."""

import os
import subprocess
import sys

import pytest


def drimbox(folder, *arguments):
    """What the command said, run in `folder` with the default settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRIMBOX_")}
    command = [sys.executable, "-m", "drimbox", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["outbox"], ["outbox", "retry", "1"], ["manifest", "1.2.3", "-o", "kos.dcm"]])
def test_a_folder_where_no_node_ran_is_told_and_left_alone(tmp_path, arguments):
    done = drimbox(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "node.data_dir" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_trail_of_a_folder_where_no_node_ran_is_not_called_intact(tmp_path):
    done = drimbox(tmp_path, "verify-trail")
    assert done.returncode == 1
    assert "node.data_dir" in done.stderr
