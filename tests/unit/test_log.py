"""The log tells where a failure came from, and never the words of a foreign exception (P18)."""

import io
import json
import logging
import subprocess
import sys
import warnings

import pytest

from drimbox.log import set_up_log

NAME = "INVENTEE-CANARI"


def failing(name):
    try:
        int(name)
    except ValueError as error:
        raise KeyError(name) from error


@pytest.fixture
def written(monkeypatch):
    """What set_up_log sends to stderr, as text; the loggers are put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("drimbox")
    kept = (root.handlers[:], root.level, ours.level)
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for hook in ((sys, "excepthook"), (__import__("threading"), "excepthook"), (warnings, "showwarning")):
        monkeypatch.setattr(*hook, getattr(*hook))
    monkeypatch.setattr(root, "handlers", [])
    set_up_log()
    yield stream.getvalue
    logging.captureWarnings(False)
    root.handlers, root.level, ours.level = kept[0], kept[1], kept[2]


def test_a_trace_has_classes_and_lines_but_no_words(written):
    try:
        failing(NAME)
    except KeyError:
        logging.getLogger("drimbox.part").exception("part_failed", extra={"incident": "0123"})
    line = json.loads(written())
    assert (line["event"], line["incident"], line["level"]) == ("part_failed", "0123", "error")
    assert line["trace"][0] == "builtins.ValueError"
    assert "builtins.KeyError" in line["trace"]
    assert any("test_log.py" in step and step.endswith(" failing") for step in line["trace"])
    assert NAME not in written()


def test_errors_of_a_group_are_told_without_their_words(written):
    try:
        raise ExceptionGroup("several", [ValueError(NAME), OSError(NAME)])
    except ExceptionGroup:
        logging.getLogger("drimbox.part").exception("part_failed")
    assert {"builtins.ValueError", "builtins.OSError"} <= set(json.loads(written())["trace"])
    assert NAME not in written()


def test_libraries_do_not_bring_values_in(written):
    logging.getLogger("library.of.others").warning("bad request from %s", NAME)
    logging.getLogger("asyncio").error(f"Task exception was never retrieved\nfuture: <Task {NAME}>")
    events = [json.loads(line)["event"] for line in written().splitlines()]
    assert events == ["bad request from %s", "loop_failed"]
    assert NAME not in written()


def test_a_crash_is_a_line_of_the_log_without_words():
    code = (
        "import threading, warnings; from drimbox.log import set_up_log; set_up_log()\n"
        f"warnings.warn('Invalid value for VR PN: {NAME}')\n"
        f"def fail(): raise ValueError('{NAME}')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join(); fail()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["crashed", "crashed"]
    assert NAME not in ended.stderr
