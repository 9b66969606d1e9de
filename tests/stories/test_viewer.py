"""The viewer in a real browser, on a real node: opened, scrolled, windowed."""

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import orjson
import pytest
from network import AT, eventually, get, running

from drimbox.pacs.store import send_files
from drimbox.portal.site import BUILT
from drimbox.sandbox.network import open_network
from drimbox.sandbox.pfi import file_report
from drimbox.sandbox.ris import PATIENT, Study, build_oru, cda_of
from drimbox.sandbox.ris_document import build_cda

VIEWER = Path(__file__).parents[2] / "viewer"

pytestmark = [
    pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="chromium is not installed"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
    pytest.mark.skipif(not (BUILT / "index.html").is_file(), reason="the viewer is not built: run scripts/install"),
    pytest.mark.skipif(not (VIEWER / "node_modules").is_dir(), reason="run npm ci in viewer/"),
]


async def test_a_study_is_opened_scrolled_and_windowed_in_chromium(tmp_path):
    study = Path(str(files("drimbox.sandbox") / "study"))
    async with running(tmp_path) as site:
        sent = await asyncio.to_thread(send_files, [study], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")
        first = sent[0]
        exam = Study(first.study_uid, first.patient_id, first.accession_number, first.modality)
        assert "MSA|AA|" in site.send_report(exam, cda=in_words(build_cda((exam,), AT)))
        await in_chromium("viewer", site, STUDY=first.study_uid)


async def test_an_item_of_the_outbox_is_parked_retried_and_discarded_in_chromium(tmp_path):
    async with running(tmp_path) as site:
        site.send_report(Study("1.2.3.44"))  # of an exam whose images never come
        [item] = await eventually(lambda: [item for item in site.outbox() if item["attempts"]])
        await in_chromium("operator", site, ITEM=str(item["id"]))
        [item] = site.outbox()
        assert (item["state"], item["last_error"]) == ("discarded", "examen d’essai")
        traces = [
            orjson.loads(line) for line in (tmp_path / "node" / "trail" / "trail.jsonl").read_bytes().splitlines()
        ]
        decided = [trace["detail"] for trace in traces if trace["detail"].startswith(f"outbox item {item['id']} ")]
        assert decided == [f"outbox item {item['id']} {done}" for done in ("parked", "retried", "discarded")]


async def test_an_exam_is_opened_from_a_manifest_in_a_file_in_chromium(tmp_path):
    """On the consumer's side, without a DMP: the images come from the box the manifest names."""
    async with running(tmp_path / "source") as source, source.dmp():
        study = Path(str(files("drimbox.sandbox") / "study"))
        sent = await asyncio.to_thread(send_files, [study], "127.0.0.1", source.node.dicom_port, "MODALITY", "NODE")
        first = sent[0]
        source.send_report(Study(first.study_uid, first.patient_id, first.accession_number, first.modality))
        await eventually(lambda: [item for item in source.outbox() if item["state"] == "done"])
        command = [sys.executable, "-m", "drimbox", "xdm", "export", "-o", str(tmp_path / "media")]
        command += ["--config", str(source.folder / "node.toml")]
        assert (await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)).returncode == 0
        [medium] = (tmp_path / "media").iterdir()
        peers = {"known": [{"name": "source", "url": f"{source.node.url}/dicom-web"}]}
        async with running(tmp_path / "consumer", peers=peers) as consumer:
            await in_chromium("given", consumer, FILE=str(medium))


async def test_the_report_of_an_exam_made_elsewhere_comes_from_the_dmp(tmp_path):
    async with open_network(tmp_path) as network:
        [visit] = (await network.walk(Path(str(files("drimbox.sandbox") / "study")))).visits
        address = f"{network.consumer.url}/api/v1/visits/{visit['visit_id']}/report"
        status, pdf = await asyncio.to_thread(get, address)
        assert (status, pdf[:5]) == (200, b"%PDF-")
        stranger = dataclasses.replace(PATIENT, ins=dataclasses.replace(PATIENT.ins, value="155024612345645"))
        study = network.dmp.app.documents()[0]
        # Filed under the right patient, shared by its references, and about somebody else: it is not shown.
        wrong = cda_of(build_oru(Study(visit["study_uid"]), AT, patient=stranger))
        file_report(network.dmp.app, wrong, "1.2.3.4.5", "20991231000000", patient_id=study.patient_id)
        assert (await asyncio.to_thread(get, address))[0] == 409


def in_words(cda):
    """The CDA with a text of level 3 in the place of its PDF."""
    start, end = cda.index(b"<component><nonXMLBody>"), cda.rindex(b"</ClinicalDocument>")
    text = "<paragraph onclick='alert(1)'>Pas d’anomalie <linkHtml href='javascript:alert(1)'>.</linkHtml></paragraph>"
    section = f"<section><title>Conclusion</title><text>{text}</text></section>"
    body = f"<component><structuredBody><component>{section}</component></structuredBody></component>"
    return cda[:start] + body.encode() + cda[end:]


async def in_chromium(file, site, **environment):
    """Run the browser tests of one file against the node of `site`."""
    environment = {**os.environ, "BASE_URL": site.node.url, "CI": "true", **environment}
    done = await asyncio.to_thread(
        subprocess.run, ["npm", "run", "--silent", "test:browser", "--", file],
        cwd=VIEWER, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


async def test_pages_come_compressed_hashed_and_confined(tmp_path):
    async with running(tmp_path) as site:
        status, page = await asyncio.to_thread(get, f"{site.node.url}/viewer/", "text/html")
        assert status == 200
        asset = page.decode().split('src="')[1].split('"')[0]
        command = ["curl", "-s", "-D-", "-o", "/dev/null", "-H", "Accept-Encoding: gzip", f"{site.node.url}{asset}"]
        head = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)).stdout
        assert "content-encoding: gzip" in head
        assert "immutable" in head
        assert "content-security-policy: default-src 'none'" in head
