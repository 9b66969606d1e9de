"""Who receives in the benchmark: our node, its peers, and the floor. Each in a fresh folder, on loopback only."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from drimbox.sandbox.nodes import free_port

ROOT = Path(__file__).resolve().parents[2]
BENCH = Path(__file__).resolve().parent
HOST = "127.0.0.1"
START_S, STOP_S, INDEX_S = 60.0, 30.0, 60.0
PDU_BYTES = 131072
NODELAY = {"TCP_NODELAY": "1"}  # DCMTK, in Orthanc too: without it each answer waits 40 ms for a delayed ACK


@dataclass(frozen=True)
class Running:
    """A receiver that listens. http_port: where it answers HTTP, if it does."""

    place: tuple[str, int]
    process: subprocess.Popen[bytes]
    folder: Path
    http_port: int

    def cpu_s(self) -> float:
        """Processor time it and its children used so far, those that live or wait to be reaped included."""
        return _ticks(self.process.pid) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self) -> float:
        """Memory it and its children hold now, in MB."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        pages = (int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (self.process.pid, *children))
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0  # reaped meanwhile: its parent has it
    return sum(map(int, fields[11:15])) + sum(map(_ticks, map(int, children)))


class Ours:
    """`drimbox serve`: durable, validated, audited and indexed."""

    name = "DRIMbox"
    program = sys.executable

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        config = folder / "drimbox.toml"
        config.write_text(
            f'[node]\ndata_dir = "{folder / "data"}"\n[dicom]\nport = {port}\nmax_pdu_bytes = {PDU_BYTES}\n'
            f"[http]\nport = {http_port}\n[hl7]\nport = 0\n"
        )
        workers = ["--workers", str(self._workers)]
        return [sys.executable, "-m", "drimbox", "serve", "--config", str(config), *workers]

    def count(self, running: Running, expected: int) -> int:
        """Instances in the index, read beside the running node; it may trail the acknowledgements for a moment."""
        database = apsw.Connection(str(running.folder / "data/own/index.db"), flags=apsw.SQLITE_OPEN_READONLY)
        database.set_busy_timeout(10_000)
        deadline = time.monotonic() + INDEX_S
        try:
            while True:
                held = int(database.execute("SELECT count(*) FROM instance").get)
                if held >= expected or time.monotonic() > deadline:
                    return held
                time.sleep(0.05)
        finally:
            database.close()


class Floor:
    """The least a durable receiver can do in Python: tests/bench/floor.py."""

    name = "floor"
    program = sys.executable

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        (folder / "data").mkdir()
        return [sys.executable, str(BENCH / "floor.py"), str(port), str(folder / "data")]

    def count(self, running: Running, expected: int) -> int:
        """It knows no instances, only bytes."""
        return expected


class Storescp:
    """DCMTK: bit preserving, a process an association, no fsync, no index."""

    name = "storescp"
    program = "/usr/bin/storescp"

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        (folder / "data").mkdir()
        options = ["--fork", "+B", "-pdu", str(PDU_BYTES), "-od", str(folder / "data"), "-aet", "BENCH"]
        return [self.program, *options, str(port)]

    def count(self, running: Running, expected: int) -> int:
        return sum(1 for _ in (running.folder / "data").iterdir())


class Pynetdicom:
    """pynetdicom's storage SCP as its documentation writes one: a file an instance, no fsync, no index."""

    name = "pynetdicom"
    program = sys.executable

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        (folder / "data").mkdir()
        return [sys.executable, str(BENCH / "pynetdicom_scp.py"), str(port), str(folder / "data")]

    def count(self, running: Running, expected: int) -> int:
        return sum(1 for _ in (running.folder / "data").iterdir())


class Orthanc:
    """Orthanc as packaged, no plugin: SQLite index, SyncStorageArea on."""

    name = "Orthanc"
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        config = folder / "orthanc.json"
        settings = {
            "Name": "bench",
            "StorageDirectory": str(folder / "data"),
            "IndexDirectory": str(folder / "data"),
            "DicomPort": port,
            "DicomAet": "BENCH",
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "HttpPort": http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "SyncStorageArea": True,
            "MaximumPduLength": PDU_BYTES,
            "StorageCompression": False,
            "SaveJobs": False,
            "MetricsEnabled": False,
            "Plugins": [],
        }
        config.write_text(json.dumps(settings))
        return [self.program, str(config)]

    def count(self, running: Running, expected: int) -> int:
        with urllib.request.urlopen(f"http://{HOST}:{running.http_port}/statistics", timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])


Receiver = Ours | Floor | Storescp | Pynetdicom | Orthanc


def stored_bytes(running: Running) -> int:
    """What lies in its folder."""
    return sum(file.stat().st_size for file in (running.folder / "data").rglob("*") if file.is_file())


def installed(receivers: list[Receiver]) -> list[Receiver]:
    """Those that can run here; the others are named aloud."""
    for receiver in receivers:
        if not Path(receiver.program).exists():
            print(f"SKIPPED {receiver.name}: {receiver.program} is not installed")
    return [receiver for receiver in receivers if Path(receiver.program).exists()]


@contextmanager
def run(receiver: Receiver, folder: Path, *, keep: bool = False) -> Iterator[Running]:
    """Start it in `folder`, stop it at the end. keep: what it stored stays for another run.

    The files stay, emptied: ext4 looks long for an inode among those freed in the last half minute, which would slow
    down whoever creates files next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    os.sync()  # the dirty pages of the run before are not this one's
    port, http_port = free_port(), free_port()
    log = (folder / "log").open("ab")
    process = subprocess.Popen(
        receiver.command(folder, port, http_port), env=os.environ | NODELAY, cwd=ROOT, stdout=log, stderr=log
    )
    try:
        _wait_for(process, port, folder / "log")
        yield Running((HOST, port), process, folder, http_port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        if not keep:
            for file in filter(Path.is_file, (folder / "data").rglob("*")):
                os.truncate(file, 0)


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the receiver ended at once: {log.read_text(errors='replace')[-2000:]}")
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the receiver does not listen")
