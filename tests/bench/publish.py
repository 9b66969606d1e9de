"""From the report to the DMP: messages kept a second, exams published a second, latency, and the end of an outage."""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from archiving import keep
from making import ct
from measures import resident_mib
from table import quantile

from drimbox import clock
from drimbox.hl7.inbound import read_inbound
from drimbox.hl7.message import parse_message
from drimbox.sandbox.certificates import SandboxCertificates, make_certificates
from drimbox.sandbox.dmp import RunningDmp, serve
from drimbox.sandbox.nodes import RunningNode, new_node
from drimbox.sandbox.ris import PATIENT, STRUCTURE, Study, build_oru, send_report
from drimbox.storage.archive import Archive
from drimbox.storage.outbox_file import open_outbox
from drimbox.storage.reports import write_fields

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
ENDS = Path(__file__).with_name("hl7_ends.py")
CONNECTIONS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", metavar="messages|latency|outage", help="all by default")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--exams", type=int, default=300)
    parser.add_argument("--answer-ms", type=float, default=20, help="what the DMP takes its time for")
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--drained", type=int, default=2_000, help="of those queued, until the measure ends")
    parser.add_argument("--rate", type=float, default=30, help="publish.most_per_s after the outage")


def main(options: argparse.Namespace) -> int:
    for name in options.what or ["messages", "latency", "outage"]:
        with tempfile.TemporaryDirectory(prefix="drimbox-bench-") as folder:
            asyncio.run(globals()[f"measure_{name}"](Path(folder), options))
    return 0


# --- Messages --------------------------------------------------------------------------------------------------------


async def measure_messages(folder: Path, options: argparse.Namespace) -> None:
    """Reports of exams whose images are not there, from 100 connections: kept, and nothing more."""
    file = folder / "messages"
    made = (build_oru(_study(number), AT, message_id=f"M{number}") for number in range(options.messages))
    file.write_bytes(b"".join(b"\x0b" + message for message in made))
    print(f"messages of {file.stat().st_size / options.messages / 1000:.1f} kB on {CONNECTIONS} connections:")
    with _floor(folder) as port:
        _show("floor", await _send(port, file))
    node = _node(folder, make_certificates(folder / "certificates"), "https://localhost:1")
    await node.start()
    try:
        _show("DRIMbox", await _send(node.hl7_port, file))
    finally:
        await node.stop()


async def _send(port: int, file: Path) -> dict[str, float]:
    command = [sys.executable, str(ENDS), "send", str(port), str(file), str(CONNECTIONS)]
    sender = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    said, _ = await sender.communicate()
    result: dict[str, float] = json.loads(said)
    return result


def _show(name: str, said: dict[str, float]) -> None:
    print(f"  {name:8} {said['per_s']:7.0f} /s   AA p50 {said['p50_ms']:.1f} ms, p99 {said['p99_ms']:.1f} ms")


@contextmanager
def _floor(folder: Path) -> Iterator[int]:
    (folder / "floor").mkdir()
    command = [sys.executable, str(ENDS), "floor", str(folder / "floor")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            yield int(running.stdout.readline())
        finally:
            running.kill()


# --- From the report to the DMP --------------------------------------------------------------------------------------


class Watched:
    """A DMP that takes its time, and whose clock is read: when each submission was registered."""

    def __init__(self, running: RunningDmp, answer_s: float) -> None:
        self.registered: list[float] = []
        self.took: list[float] = []
        self.news = asyncio.Event()
        running.app.pause_s = answer_s
        self._real = running.app._register
        running.app._register = self._register  # type: ignore[method-assign]

    def _register(self, *arguments: Any) -> str:
        began = time.perf_counter()
        answer = self._real(*arguments)
        self.registered.append(time.perf_counter())
        self.took.append(self.registered[-1] - began)
        self.news.set()
        return answer

    async def until(self, count: int) -> None:
        while len(self.registered) < count:
            self.news.clear()
            await self.news.wait()


async def measure_latency(folder: Path, options: argparse.Namespace) -> None:
    """Studies are there; their reports come one by one, then all at once."""
    certificates = make_certificates(folder / "certificates")
    await _images(folder, range(2 * options.exams))
    async with serve(folder / "dmp", certificates) as running:
        dmp = Watched(running, options.answer_ms / 1000)
        node = _node(folder, certificates, running.repository_url.removesuffix("/repository"))
        await node.start()
        try:
            await _one_by_one(node, dmp, options)
            await _all_at_once(folder, node, dmp, options)
        finally:
            await node.stop()


async def _one_by_one(node: RunningNode, dmp: Watched, options: argparse.Namespace) -> None:
    took = []
    for number in range(options.exams):
        message = build_oru(_study(number), AT)
        began = time.perf_counter()
        await asyncio.to_thread(send_report, "127.0.0.1", node.hl7_port, message)
        await dmp.until(number + 1)
        took.append((dmp.registered[number] - began) * 1000)
    took.sort()
    own = sorted(dmp.took)[len(dmp.took) // 2] * 1000
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    print(f"report to registered, one by one: p50 {p50:.0f} ms (aim 150), p99 {p99:.0f} ms")
    print(f"  of which the DMP: {options.answer_ms:g} ms that it waits, and {own:.0f} ms that it checks")


async def _all_at_once(folder: Path, node: RunningNode, dmp: Watched, options: argparse.Namespace) -> None:
    file = folder / "messages"
    made = (build_oru(_study(options.exams + number), AT) for number in range(options.exams))
    file.write_bytes(b"".join(b"\x0b" + message for message in made))
    began = time.perf_counter()
    await _send(node.hl7_port, file)
    await dmp.until(2 * options.exams)
    rate = options.exams / (dmp.registered[-1] - began)
    took = sorted(dmp.took[options.exams :])[options.exams // 2]
    print(f"reports all at once: {rate:.1f} /s registered; the DMP's checks alone allow {1 / took:.0f} /s on one core")


# --- The end of an outage --------------------------------------------------------------------------------------------


async def measure_outage(folder: Path, options: argparse.Namespace) -> None:
    """Manifests wait for a DMP that did not answer for hours; then it does."""
    certificates = make_certificates(folder / "certificates")
    await _images(folder, range(options.drained))
    _queue(folder, options.queued)
    async with serve(folder / "dmp", certificates) as running:
        dmp = Watched(running, options.answer_ms / 1000)
        base = running.repository_url.removesuffix("/repository")
        node = _node(folder, certificates, base, most_per_s=options.rate)
        began = time.perf_counter()
        await node.start()
        print(f"{options.queued} queued; ready after {time.perf_counter() - began:.1f} s")
        try:
            assert node.process is not None
            for share in (10, 50, 90):
                await dmp.until(options.drained * share // 100)
                print(
                    f"  {share} %: {len(dmp.registered)} registered, {resident_mib(node.process.pid):.0f} MiB resident"
                )
            seconds = dmp.registered[-1] - dmp.registered[0]
            print(f"  {(len(dmp.registered) - 1) / seconds:.1f} /s (configured: {options.rate:g})")
        finally:
            await node.stop()


def _queue(folder: Path, count: int) -> None:
    """What hours without an answer leave: exams whose next try is hours away, and one whose turn it is.

    One report that was read, and its copies with other numbers.
    """
    template = _study(0).study_uid
    fields = write_fields(read_inbound(parse_message(build_oru(_study(0), AT))))
    now = clock.now().timestamp()

    def work(transaction: Any) -> None:
        for number in range(count):
            uid, own = _study(number).study_uid, fields.replace(b'"ACC0"', b'"ACC%d"' % number)
            transaction.execute(
                "INSERT INTO report (message_id, digest, status, fields, message, cda, arrived_at) "
                "VALUES (?, ?, 'current', ?, ?, ?, ?)",
                (f"RIS|M{number}", b"%d" % number, own.replace(template.encode(), uid.encode()), b"", b"", now),
            )
            report_id = transaction.last_id()
            transaction.execute("INSERT INTO report_key VALUES (?, ?)", (f"study:{uid}", report_id))
            transaction.execute(
                "INSERT INTO job (study_uid, report_id, kind, state, attempts, last_error, next_try, created_at, "
                "unanswered_at) VALUES (?, ?, 'publish', 'due', 9, 'DMP: it stays silent', ?, ?, ?)",
                (uid, report_id, now + 3600 * (number > 0), now, now - 7200 + number / count),
            )

    database = open_outbox(folder / "node" / "own")
    database.submit(work).result()
    database.close()


# --- Parts -----------------------------------------------------------------------------------------------------------


def _study(number: int) -> Study:
    return Study(f"1.2.826.0.1.3680043.10.9999.7.1{number:07}", "IPP101", f"ACC{number}", "CT")


async def _images(folder: Path, numbers: range) -> None:
    """Three instances of each study, there for a while."""
    open_outbox(folder / "node" / "own").close()  # before its index, as a node does
    archive = Archive(folder / "node" / "own")
    for number in numbers:
        study = _study(number)
        for instance in range(1, 4):
            made = ct(1, instance, study.study_uid, PatientID="IPP101", AccessionNumber=study.accession_number)
            await keep(archive, made)
    archive.close()


def _node(folder: Path, certificates: SandboxCertificates, base: str, **publish: Any) -> RunningNode:
    structure = {
        "id": STRUCTURE,
        "name": "Centre",
        **certificates.own.settings(),
    }
    dmp = {"repository_url": f"{base}/repository", "registry_url": f"{base}/registry", "ca": str(certificates.ca)}
    dmp |= {"ins_authority": PATIENT.ins.authority, "structures": [structure]}
    waiting = {"settle_s": 0, "retry_first_s": 3600, "most_per_s": 10_000}
    return new_node("node", folder, {"dmp": dmp, "publish": waiting | publish})
