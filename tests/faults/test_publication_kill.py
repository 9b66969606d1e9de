"""kill -9 at each durable call of the publication, around each commit, each message and each answer (P6, P7, P16)."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from publication_stage import patient

from drimbox.kos.read import read_manifest
from drimbox.sandbox.certificates import make_certificates
from drimbox.sandbox.dmp import serve

HERE = Path(__file__).parent

# Story -> the submissions in all; of the document that is current at the end: whose it is, and how many images it has.
ENDS = {
    "publish": (["publish"], (0, 1)),
    "image": (["publish", "replace"], (0, 2)),
    "correct": (["publish", "replace"], (0, 1)),
    "mask": (["publish", "update"], (0, 1)),
    "other patient": (["publish", "withdraw", "publish"], (1, 1)),
    "cancel": (["publish", "withdraw"], None),
}


@pytest.mark.parametrize("story", ENDS)
async def test_a_kill_at_any_call_loses_nothing_and_tells_nothing_twice(tmp_path, story):
    certificates = make_certificates(tmp_path / "certificates")
    lives = tmp_path / "lives"
    lives.mkdir()
    async with serve(tmp_path / "dmp", certificates) as dmp:
        await asyncio.to_thread(killed, lives, tmp_path / "certificates", dmp.port, story)
        names = (lives / "-1" / "calls").read_text().splitlines()
        assert {"commit", "answer", "sqlite write", "sqlite sync", "send", "answered"} <= set(names)
        folders = sorted(lives.iterdir(), key=lambda path: int(path.name))
        assert len(folders) > 20
        held = {}
        for document in dmp.app.documents():
            held.setdefault(read_manifest(document.content).study_uid, []).append(document)
        for folder in folders:
            check(folder, story, held)


def check(folder, story, held):
    kinds, current = ENDS[story]
    jobs = json.loads((folder / "jobs").read_text())[::-1]
    assert [(job["kind"], job["state"]) for job in jobs] == [(kind, "done") for kind in kinds], folder
    documents = held[jobs[0]["study_uid"]]
    assert len(documents) == sum(kind in ("publish", "replace") for kind in kinds), folder
    person = int(jobs[0]["study_uid"].rpartition(".")[2])
    names = [patient(person).ins.value, patient(person, person + 1).ins.value]
    assert [names.index(document.patient_id.partition("^")[0]) for document in documents] == [
        0 if number == 0 or story != "other patient" else 1 for number in range(len(documents))
    ], folder
    shown = [document for document in documents if document.is_approved]
    assert len(shown) == (current is not None), folder
    for document in shown:
        manifest = read_manifest(document.content)
        images = sum(len(series.instances) for series in manifest.series)
        assert (names.index(manifest.patient.ins.value), images) == current, folder
        assert ("MASQUE_PS" in document.metadata) == (story == "mask"), folder


def killed(*arguments):
    paths = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, str(HERE / "publication_killed.py"), *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
