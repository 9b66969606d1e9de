"""One real node in a process of its own, for stories that kill it; its neighbours are the sandbox's."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drimbox.pacs.store import Sent, send_files
from drimbox.sandbox.certificates import make_certificates
from drimbox.sandbox.dmp import serve
from drimbox.sandbox.nodes import RunningNode, free_port, new_node
from drimbox.sandbox.ris import PATIENT, STRUCTURE, Study, build_oru, send_report

OWN: Mapping[str, tuple[str, ...]] = {STRUCTURE: ()}
AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def get(url: str, accept: str = "application/json", timeout_s: float = 120) -> tuple[int, bytes]:
    """(status, body), whatever the status."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


async def eventually(condition: Any, timeout_s: float = 120) -> Any:
    """The first true result of `condition`, asked again and again."""
    async with asyncio.timeout(timeout_s):
        while True:
            if found := await asyncio.to_thread(condition):
                return found
            await asyncio.sleep(0.05)


class Site:
    """A node and the place of its DMP, which may or may not run."""

    def __init__(
        self,
        folder: Path,
        node: dict[str, Any],
        sections: dict[str, dict[str, Any]] | None = None,
        structures: Mapping[str, tuple[str, ...]] = OWN,
    ) -> None:
        self.folder = folder
        self.structures = structures
        self.certificates = make_certificates(folder / "certificates", structures)
        self.dmp_port = free_port()
        base = f"https://localhost:{self.dmp_port}"
        settings: dict[str, Any] = {
            "node": {"data_dir": str(folder / "node"), **node},
            "dmp": {
                "repository_url": f"{base}/repository",
                "registry_url": f"{base}/registry",
                "ca": str(self.certificates.ca),
                "ins_authority": PATIENT.ins.authority,
                "structures": [self.structure(number) for number in structures],
                "timeout_s": 60,
            },
            "publish": {"settle_s": 0, "poll_s": 0.1, "retry_first_s": 0.2, "retry_most_s": 1},
            **(sections or {}),
        }
        self.node: RunningNode = new_node("node", folder, settings)

    def structure(self, number: str) -> dict[str, Any]:
        """A structure as `dmp.structures` has it: EG when it has no sites, else EJ/EG."""
        mode = {"mode": "EJ/EG", "sites": list(self.structures[number])} if self.structures[number] else {}
        return {"id": number, "name": "Centre", **mode, **self.certificates.structures[number].settings()}

    def dmp(self) -> Any:
        """The DMP, as an async context manager; what it holds stays in its folder."""
        return serve(self.folder / "dmp", self.certificates, port=self.dmp_port, entities=self.structures)

    def outbox(self) -> list[dict[str, Any]]:
        """What the node says it owes."""
        items: list[dict[str, Any]] = json.loads(get(f"{self.node.url}/api/v1/outbox")[1])["items"]
        return items

    def send_report(self, study: Study, **options: Any) -> str:
        """Send the report of `study`; the acknowledgement."""
        return send_report("127.0.0.1", self.node.hl7_port, build_oru(study, AT, **options))


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    node: dict[str, Any] | None = None,
    structures: Mapping[str, tuple[str, ...]] = OWN,
    **sections: dict[str, Any],
) -> AsyncIterator[Site]:
    """A site whose node is up. node: settings of its section `node`; sections: others.

    structures: those it has certificates of, by number, with the geographic sites of the legal entities among them.
    """
    site = Site(folder, node or {}, sections, structures)
    await site.node.start()
    try:
        yield site
    finally:
        await site.node.stop()


async def send(site: Site, folder: Path) -> list[Sent]:
    """Store a file, or all of a folder, in the node as a modality does."""
    return await asyncio.to_thread(send_files, [folder], "127.0.0.1", site.node.dicom_port, "MODALITY", "NODE")
