"""OHIF as it is published, in a real browser, on a real node: every kind of exam opens, nothing is refused."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from network import running

from drimbox.pacs.store import send_files
from drimbox.sandbox.nodes import free_port

pytest.importorskip("highdicom", reason="highdicom makes the SEG and the SR, and is not here for this Python")
from ohif_objects import ROOT, exams, renamed, ultrasound

OHIF = Path(__file__).resolve().parents[1] / "peers" / "ohif"
NODE = shutil.which("node")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="chromium is not installed"),
    pytest.mark.skipif(
        NODE is None or not (OHIF / "node_modules/@ohif/app/dist/index.html").is_file(),
        reason="Node.js or tests/peers/ohif/node_modules is not here: scripts/test installs it where npm is",
    ),
]

SMALL_PICTURES = {"thumbnailRendering": "thumbnail", "omitQuotationForMultipartRequest": True}

# OHIF goes to the image that a measurement was made on; when it draws the outline is its own affair.
MEASURED_ON, REPORTED = "I:4 (5/8)", "Report Text: Enter text"
AWAITED = {
    "SR": {"words": [MEASURED_ON, REPORTED]},
    "SEG": {"colours": 11},
    "CT": {"words": ["(1/8)"]},
    "US": {"words": ["(1/30)"]},
}


@dataclass(frozen=True)
class Visit:
    """What OHIF asked of the node for one exam, and what it showed, by modality."""

    asked: list[dict[str, Any]]
    shown: dict[str, dict[str, Any]]
    wrong: list[str]

    def paths(self, end: str) -> list[str]:
        return [line["path"] for line in self.asked if line["path"].endswith(end)]


async def visit(folder: Path) -> dict[str, Visit]:
    given = folder / "given"
    given.mkdir()
    for number, made in enumerate(exams()):
        made.save_as(given / f"{number}.dcm")
    port, elsewhere = free_port(), free_port()
    viewer, root = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{elsewhere}/dicom-web"
    # The page and the node have one origin, and the node is told its public name: URLs in its answers lead there.
    # Once the node is at another origin, and lets pages of the viewer read.
    async with running(folder, http={"public_url": viewer, "viewer_origins": [viewer]}) as site:
        await asyncio.to_thread(send_files, [given], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")
        visits = [{}, *({"study": f"{ROOT}.{exam}"} for exam in range(1, 7))]
        visits.append({"study": f"{ROOT}.1", "source": SMALL_PICTURES})
        across = {"qidoRoot": root, "wadoRoot": root, "wadoUriRoot": root, **SMALL_PICTURES}
        visits.append({"study": f"{ROOT}.1", "source": across})
        visits.append({"query": "modalities=CT,MR&patientName=essai&mrn=IPP&accession=ACC"})
        uploaded = folder / "uploaded.dcm"
        renamed(ultrasound(), 9, 1, 1).save_as(uploaded)
        visits += [{"upload": [str(uploaded)]}, {"study": f"{ROOT}.9"}]
        wanted = {"port": port, "elsewhere": elsewhere, "node": site.node.url, "visits": visits, "awaited": AWAITED}
        done = await asyncio.to_thread(
            subprocess.run, [str(NODE), "visit.js", json.dumps(wanted)],
            cwd=OHIF, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = [
        "list",
        "ct",
        "mr",
        "us",
        "xa",
        "sr",
        "pdf",
        "ct again",
        "ct across",
        "filtered",
        "upload",
        "uploaded",
    ]
    found = map(json.loads, done.stdout.splitlines())
    return {
        name: Visit(one["asked"], {s["tile"].split("\n")[0]: s for s in one["series"]}, one["wrong"])
        for name, one in zip(names, found, strict=True)
    }


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Visit]]:
    yield asyncio.run(visit(Path(tmp_path_factory.mktemp("ohif"))))


def test_nothing_that_ohif_asks_is_refused(visits: dict[str, Visit]) -> None:
    for name, one in visits.items():
        assert one.asked, name
        refused = [
            (line["status"], line["path"], line["accept"])
            for line in one.asked
            if line["status"] not in (200, 204, 304)
        ]
        assert refused == [], name
        assert one.wrong == [], name


def test_the_study_list_tells_who_when_and_what(visits: dict[str, Visit]) -> None:
    words = visits["list"].shown[""]["words"]
    for told in ("1-6 of 6", "ESSAI, OHIF", "05-Jan-2026 10:15 AM", "CT\\SEG\\SR", "ACC1"):
        assert told in words


def test_the_study_list_is_filtered_by_each_of_its_fields(visits: dict[str, Visit]) -> None:
    assert "1-2 of 2" in visits["filtered"].shown[""]["words"]
    assert "ModalitiesInStudy=CT%2CMR" in visits["filtered"].asked[-1]["path"]


@pytest.mark.parametrize(
    ("name", "modality", "place"),
    [("ct", "CT", "(1/8)"), ("mr", "MR", "1/1"), ("us", "US", "(1/30)"), ("xa", "XA", "(1/8)")],
)
def test_images_are_shown(visits: dict[str, Visit], name: str, modality: str, place: str) -> None:
    shown = visits[name].shown[modality]
    assert shown["levels"] > 50
    assert place in shown["words"]
    assert (shown["colours"] > 10) == (name == "us")


def test_every_frame_of_a_multi_frame_was_drawn(visits: dict[str, Visit]) -> None:
    for number in range(1, 31):
        assert visits["us"].paths(f"/frames/{number}")


def test_a_segmentation_lies_over_its_images(visits: dict[str, Visit]) -> None:
    assert visits["ct"].shown["CT"]["colours"] == 0
    assert visits["ct"].shown["SEG"]["colours"] > 10


def test_measurements_and_reports_are_read(visits: dict[str, Visit]) -> None:
    assert MEASURED_ON in visits["ct"].shown["SR"]["words"]
    assert REPORTED in visits["sr"].shown["SR"]["words"]


def test_a_viewer_of_another_origin_reads_where_it_may(visits: dict[str, Visit]) -> None:
    across = visits["ct across"]
    assert any(line["method"] == "OPTIONS" for line in across.asked)
    assert across.shown["CT"]["levels"] > 50
    assert across.shown["SEG"]["colours"] > 10


def test_a_document_opens(visits: dict[str, Visit]) -> None:
    (page,) = visits["pdf"].shown["DOC"]["embedded"]
    answered = [line for line in visits["pdf"].asked if page.endswith(line["path"])]
    assert [line["type"] for line in answered] == ["application/pdf"]


def test_what_is_uploaded_in_ohif_is_stored_and_opens(visits: dict[str, Visit]) -> None:
    assert ("POST", "/dicom-web/studies", 200) in {
        (line["method"], line["path"], line["status"]) for line in visits["upload"].asked
    }
    assert "1 file completed." in visits["upload"].shown[""]["words"]
    assert visits["uploaded"].shown["US"]["levels"] > 50


def test_small_pictures_are_ours_where_ohif_wants_them(visits: dict[str, Visit]) -> None:
    for name in ("ct again", "ct across"):
        assert visits[name].paths("/thumbnail?accept=image%2Fjpeg")
