"""The viewer in a real browser, on a real node: opened, scrolled, windowed."""

import asyncio
import os
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from network import get, running

from drimbox.pacs.store import send_files
from drimbox.portal.site import BUILT

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
        environment = {**os.environ, "BASE_URL": site.node.url, "STUDY": sent[0].study_uid, "CI": "true"}
        done = await asyncio.to_thread(
            subprocess.run, ["npm", "run", "--silent", "test:browser"],
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
