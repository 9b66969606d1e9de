"""Who may talk: a real node with `dicom.callers`, asked by DCMTK and by hand. Whoever is refused leaves a trace."""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from network import Site, running

sys.path.append(str(Path(__file__).parent))
from raw_scu import CT, EXPLICIT, RawScu, build_request

from drimbox.dicom.pdu import Pdu

CALLERS: dict[str, Any] = {
    "callers": [{"ae_title": "CT1", "address": "127.0.0.0/24"}, {"ae_title": "MR1", "address": "127.0.0.2"}],
    "other_titles": ["OLD_NAME"],
}


def traces(site: Site) -> list[tuple[str, str, str]]:
    """(action, outcome, who) of every trace of the node."""
    text = (site.folder / "node" / "trail" / "trail.jsonl").read_text()
    return [(it["action"], it["outcome"], it["who"]) for it in map(json.loads, text.splitlines())]


def ask(site: Site, calling: str, called: str) -> tuple[Pdu, bytes] | None:
    with RawScu(("127.0.0.1", site.node.dicom_port)) as scu:
        scu.send(build_request([(CT, [EXPLICIT])], calling, called))
        return scu.receive()


def rejected(*reason: int) -> tuple[Pdu, bytes]:
    return Pdu.ASSOCIATE_RJ, bytes((0, *reason))


async def test_title_address_and_called_title_must_be_right(tmp_path: Path) -> None:
    async with running(tmp_path, dicom=CALLERS) as site:
        for called in ("NODE", "OLD_NAME"):
            answer = await asyncio.to_thread(ask, site, "CT1", called)
            assert answer is not None
            assert answer[0] is Pdu.ASSOCIATE_AC
        assert await asyncio.to_thread(ask, site, "STRANGER", "NODE") == rejected(1, 1, 3)
        assert await asyncio.to_thread(ask, site, "MR1", "NODE") == rejected(1, 1, 3)  # from another address
        assert await asyncio.to_thread(ask, site, "CT1", "WRONG") == rejected(1, 1, 7)
        assert await asyncio.to_thread(ask, site, "STRANGER", "WRONG") == rejected(1, 1, 3)
    refused = [who for action, outcome, who in traces(site) if (action, outcome) == ("store", "refused")]
    assert refused == ["STRANGER", "MR1", "CT1", "STRANGER"]


@pytest.mark.skipif(not shutil.which("echoscu"), reason="DCMTK is not installed")
async def test_dcmtk_understands_the_refusals(tmp_path: Path) -> None:
    async with running(tmp_path, dicom=CALLERS) as site:
        for calling, called, expected in (
            ("CT1", "NODE", ""),
            ("CT2", "NODE", "Calling AE Title Not Recognized"),
            ("CT1", "NOBODY", "Called AE Title Not Recognized"),
        ):
            echo = await asyncio.create_subprocess_exec(
                "echoscu", "-aet", calling, "-aec", called, "127.0.0.1", str(site.node.dicom_port),
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await echo.communicate()
            assert (echo.returncode == 0) is not bool(expected)
            assert expected in said.decode()


async def test_a_flood_of_refusals_is_few_lines_of_log_and_all_of_the_trail(tmp_path: Path) -> None:
    async with running(tmp_path, dicom=CALLERS) as site:
        for _ in range(40):
            assert await asyncio.to_thread(ask, site, "STRANGER", "NODE") == rejected(1, 1, 3)
    lines = [line for line in (tmp_path / "node.log").read_text().splitlines() if "association_rejected" in line]
    assert 1 <= len(lines) <= 8  # of two receivers, for as long as a slow machine may take
    assert sum(outcome == "refused" for _, outcome, _ in traces(site)) == 40
