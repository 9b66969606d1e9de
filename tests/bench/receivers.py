"""Who receives in the benchmark: our node, DCMTK's storescp, Orthanc. Each in a fresh folder, on loopback only."""

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

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
START_S, STOP_S = 60.0, 30.0
PDU_BYTES = 131072
NODELAY = {"TCP_NODELAY": "1"}  # DCMTK, in Orthanc too: without it each answer waits 40 ms for a delayed ACK


@dataclass(frozen=True)
class Running:
    """A receiver that listens. cpu_s: processor time it and its children used so far."""

    place: tuple[str, int]
    process: subprocess.Popen[bytes]
    folder: Path
    http_port: int

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Ours:
    """`drimbox serve`: durable, audited, indexed before it answers."""

    name = "DRIMbox"
    program = sys.executable

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        config = folder / "drimbox.toml"
        config.write_text(
            f'[node]\ndata_dir = "{folder / "data"}"\n[dicom]\nport = {port}\nmax_pdu_bytes = {PDU_BYTES}\n'
            f"[http]\nport = {http_port}\n[hl7]\nport = 0\n"
        )
        return [sys.executable, "-m", "drimbox", "serve", "--config", str(config)]

    def count(self, running: Running) -> int:
        """Instances in the index whose files are there, read beside the running node."""
        database = apsw.Connection(str(running.folder / "data/own/index.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            rows = list(database.execute("SELECT file FROM instance"))
        finally:
            database.close()
        return sum((running.folder / "data/own" / str(row[0])).is_file() for row in rows)


class Storescp:
    """DCMTK: bit preserving, a process an association, no fsync, no index."""

    name = "storescp"
    program = "/usr/bin/storescp"

    def command(self, folder: Path, port: int, http_port: int) -> list[str]:
        (folder / "data").mkdir()
        options = ["--fork", "+B", "-pdu", str(PDU_BYTES), "-od", str(folder / "data"), "-aet", "BENCH"]
        return [self.program, *options, str(port)]

    def count(self, running: Running) -> int:
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

    def count(self, running: Running) -> int:
        with urllib.request.urlopen(f"http://{HOST}:{running.http_port}/statistics", timeout=10) as answer:
            return int(json.load(answer)["CountInstances"])


Receiver = Ours | Storescp | Orthanc


@contextmanager
def run(receiver: Receiver, folder: Path) -> Iterator[Running]:
    """Start it in `folder`, stop it at the end.

    The folder stays: ext4 looks long for an inode among those freed in the last half minute, which would slow down
    whoever creates files next.
    """
    folder.mkdir(parents=True)
    os.sync()  # the dirty pages of the run before are not this one's
    port, http_port = _free_port(), _free_port()
    log = (folder / "log").open("wb")
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


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


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
