"""The neighbours wired together: a whole DRIM-M network on loopback, each step over its real protocol.

modality ──C-STORE──▶ source ◀──WADO-RS── consumer ◀── viewer
RIS ──MLLP──▶ source ──ITI-41──▶ DMP ◀──ITI-18, ITI-43── consumer
"""

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from rich.console import Console

from drimbox import clock
from drimbox.egress import Egress
from drimbox.errors import Unavailable
from drimbox.model import Identifier
from drimbox.pacs.store import Sent, send_files
from drimbox.portal.listener import Listener
from drimbox.portal.site import is_built
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates
from drimbox.sandbox.dmp import RunningDmp
from drimbox.sandbox.dmp import serve as serve_dmp
from drimbox.sandbox.nodes import RunningNode, ask, free_port, new_node
from drimbox.sandbox.pfi import file_report
from drimbox.sandbox.psc import create_psc
from drimbox.sandbox.ris import PATIENT, STRUCTURE, Study, build_oru, cda_of, send_report
from drimbox.sandbox.verify import Verdict, verify_visit

_WAIT_S: Final = 120.0
_INS: Final = PATIENT.ins or Identifier("")


@dataclass
class Sandbox:
    """Everything that runs. `walk` takes a study through it."""

    folder: Path
    source: RunningNode
    consumer: RunningNode
    dmp: RunningDmp
    psc_url: str
    egress: Egress

    async def walk(self, study: Path) -> "Walk":
        """Send a study and its report, wait for the manifest, open it from the consumer."""
        sent = await asyncio.to_thread(send_files, [study], "127.0.0.1", self.source.dicom_port, "MODALITY", "SOURCE")
        visits = []
        for study_uid in dict.fromkeys(item.study_uid for item in sent):
            first = next(item for item in sent if item.study_uid == study_uid)
            report = build_oru(Study(study_uid, first.patient_id, first.accession_number, first.modality), clock.now())
            acknowledgement = await asyncio.to_thread(send_report, "127.0.0.1", self.source.hl7_port, report)
            if "MSA|AA|" not in acknowledgement:
                raise Unavailable("source node", "the report was not accepted: see its log")
            file_report(self.dmp.app, cda_of(report), f"2.25.{uuid4().int}", f"{clock.now():%Y%m%d%H%M%S}")
            await self._published(study_uid)
            visits.append(await self._visit(study_uid))
        return Walk(sent, visits)

    async def _published(self, study_uid: str) -> None:
        """Wait until nothing is owed for the study. Raises Unavailable, with what the outbox says."""
        said = "no report arrived"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WAIT_S):
                while True:
                    items = json.loads((await ask(self.egress, f"{self.source.url}/api/v1/outbox")).content)["items"]
                    jobs = [item for item in items if item["study_uid"] == study_uid]
                    if jobs and all(job["state"] == "done" for job in jobs):
                        return
                    said = jobs[0]["last_error"] if jobs else said
                    if any(job["state"] == "parked" for job in jobs):
                        break
                    await asyncio.sleep(0.2)
        raise Unavailable("publication", said)

    async def _visit(self, study_uid: str) -> dict[str, Any]:
        """What the consumer's user does: search the patient, open the exam, wait for the images."""
        api = f"{self.consumer.url}/api/v1"
        listed = json.loads((await ask(self.egress, f"{api}/patients/{_INS.value}/documents")).content)
        document = next((item for item in listed if item["study_uid"] == study_uid), None)
        if document is None:
            raise Unavailable("consumer node", "the DMP lists no manifest of the study")
        body = json.dumps({"document_id": document["document_id"]}).encode()
        headers = {"Content-Type": "application/json"}
        answer = await self.egress.post(f"{api}/visits", content=body, headers=headers, timeout_s=60, max_bytes=1 << 20)
        if answer.status != 201:
            raise Unavailable("consumer node", f"the visit was refused with {answer.status}: see its log")
        visit: dict[str, Any] = json.loads(answer.content)
        async with asyncio.timeout(_WAIT_S):
            while True:
                progress = json.loads((await ask(self.egress, f"{api}/visits/{visit['visit_id']}")).content)
                if progress["complete"]:
                    return visit
                await asyncio.sleep(0.2)


@dataclass(frozen=True)
class Walk:
    """What was sent, and the visits opened on it, one a study."""

    sent: list[Sent]
    visits: list[dict[str, Any]]


async def run_sandbox(*, once: bool, data: Path | None, study: Path | None) -> int:
    """Run the network; exit code. once: verify, print one line, end. SIGTERM and Ctrl-C end it and all it started."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await _run(once, data, study)
    except asyncio.CancelledError:
        return 1 if once else 0


async def _run(once: bool, data: Path | None, study: Path | None) -> int:
    console = Console(stderr=True, highlight=False)
    with contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drimbox-sandbox-")))
        folder.mkdir(parents=True, exist_ok=True)
        shipped = stack.enter_context(as_file(files("drimbox.sandbox") / "study"))
        async with open_network(folder) as network:
            if not once:
                console.print("DRIM-M en bac à sable : un examen traverse le réseau…")
            walk = await network.walk(study or shipped)
            if once:
                return _summarise(await _verify(network, walk))
            _show(network, walk)
            await asyncio.Event().wait()
    return 0


@contextlib.asynccontextmanager
async def open_network(folder: Path) -> AsyncIterator[Sandbox]:
    """Start the neighbours and both nodes; end them all."""
    certificates = make_certificates(folder / "certificates")
    async with contextlib.AsyncExitStack() as stack:
        dmp = await stack.enter_async_context(serve_dmp(folder / "dmp", certificates))
        psc_url = f"http://127.0.0.1:{free_port()}"
        psc = Listener(create_psc(psc_url, clock), "127.0.0.1", int(psc_url.rpartition(":")[2]))
        await psc.open()
        stack.push_async_callback(psc.close)
        settings = _settings(dmp, psc_url, certificates)
        source = new_node("source", folder, settings)
        peer = {"name": "source", "url": f"{source.url}/dicom-web"}
        consumer = new_node("consumer", folder, {**settings, "peers": {"known": [peer]}})
        for node in (source, consumer):
            stack.push_async_callback(node.stop)
        await asyncio.gather(source.start(), consumer.start())
        egress = Egress([source.url, consumer.url])
        stack.push_async_callback(egress.close)
        yield Sandbox(folder, source, consumer, dmp, psc_url, egress)


def _settings(dmp: RunningDmp, psc_url: str, certificates: SandboxCertificates) -> dict[str, dict[str, Any]]:
    structure = {
        "id": STRUCTURE,
        "name": "Centre d'imagerie du bac à sable",
        **certificates.own.settings(),
    }
    return {
        "dmp": {
            "repository_url": dmp.repository_url,
            "registry_url": dmp.registry_url,
            "ca": str(certificates.ca),
            "ins_authority": _INS.authority,
            "structures": [structure],
        },
        "psc": {"issuer_url": psc_url},
        "auth": {"professional": {"id": "899700000011", "family": "DURAND", "given": "CLAIRE"}},
        "publish": {"settle_s": 1, "poll_s": 0.2},
    }


async def _verify(network: Sandbox, walk: Walk) -> Verdict:
    """Every instance sent and referenced must come back from the consumer with the same pixels."""
    verdicts = [
        await verify_visit(
            network.egress,
            network.consumer.url,
            visit,
            [item for item in walk.sent if item.study_uid == visit["study_uid"]],
        )
        for visit in walk.visits
    ]
    return Verdict(
        stored=len(walk.sent),
        published=len(walk.visits),
        retrieved=sum(verdict.retrieved for verdict in verdicts),
        wrong=[line for verdict in verdicts for line in verdict.wrong],
    )


def _summarise(verdict: Verdict) -> int:
    pixels = "all pixels equal" if not verdict.wrong else f"{len(verdict.wrong)} differ: {'; '.join(verdict.wrong[:3])}"
    manifests = f"{verdict.published} manifest{'s' if verdict.published != 1 else ''} published"
    print(f"{verdict.stored} instances stored, {manifests}, {verdict.retrieved} images retrieved, {pixels}")
    return 0 if verdict.retrieved and not verdict.wrong else 1


def _show(network: Sandbox, walk: Walk) -> None:
    """The addresses to open, the most telling one last."""
    print(f"DMP                 {network.dmp.repository_url}  XDS.b, mutual TLS")
    print(f"Pro Santé Connect   {network.psc_url}")
    for title, node in (("DRIMbox source", network.source), ("DRIMbox consumer", network.consumer)):
        print(
            f"{title:<19} {node.url}/  C-STORE {node.dicom_port}  MLLP {node.hl7_port}  {node.folder / node.name}.log"
        )
    print(f"Patient             INS {_INS.value}")
    if not is_built():
        print("The viewer is not built: install Node.js 20 or newer and run scripts/install again.")
    for visit in walk.visits:
        print("Open the exam, found in the DMP and fetched from the source by the consumer:")
        print(f"  {network.consumer.url}/viewer/?StudyInstanceUIDs={visit['study_uid']}&visit={visit['visit_id']}")
    print("Ctrl-C ends it.", flush=True)
