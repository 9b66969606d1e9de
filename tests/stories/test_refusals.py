"""Bad input on every door gets its clear error, and the next legitimate request works."""

import asyncio
import contextlib
import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest
from making import STUDY, ct
from network import AT, get, running

from drimbox.pacs.store import send_files
from drimbox.sandbox.ris import Study, build_oru, send_report

GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x01\x00\xff\xff\xff\xfe",
    bytes(range(256)),
]


def poke(port: int, data: bytes) -> bytes:
    """Send garbage; what came back before the other end closed, or in two seconds."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, contextlib.suppress(OSError):
        connection.sendall(data)
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


async def test_garbage_on_every_port_disturbs_nobody(tmp_path):
    file = tmp_path / "one.dcm"
    ct().save_as(file, enforce_file_format=True)
    async with running(tmp_path) as site:
        node = site.node
        for data in GARBAGE:
            for port in (node.dicom_port, node.http_port, node.hl7_port):
                await asyncio.to_thread(poke, port, data)
        await asyncio.to_thread(send_files, [file], "127.0.0.1", node.dicom_port, "MODALITY", "NODE")
        status, body = await asyncio.to_thread(get, f"{node.url}/dicom-web/studies")
        assert (status, len(json.loads(body))) == (200, 1)
        study = Study(STUDY, "IPP101", "ACC1", "CT")
        assert "MSA|AA|" in await asyncio.to_thread(send_report, "127.0.0.1", node.hl7_port, build_oru(study, AT))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dicom-web/studies/1.2..3/metadata", 400),
        ("/dicom-web/studies/..%2F..%2Fetc/metadata", 404),
        ("/dicom-web/studies/1.2.999/metadata", 404),
        ("/dicom-web/studies/1.2.999", 404),
        ("/dicom-web/studies?NoSuchKeyword=1", 400),
        ("/dicom-web/nothing", 404),
        ("/visits/unknown/dicom-web/studies", 404),
        ("/api/v1/outbox/77", 404),
        ("/api/v1/outbox/x", 400),
        ("/api/v1/outbox/99999999999999999999", 400),
        ("/api/v1/patients/12/documents", 400),
        ("/api/v1/patients/279035121518989/documents", 401),
        ("/api/v1/nothing", 404),
        ("/viewer/../../etc/passwd", 404),
    ],
)
def test_http_refusals_are_problem_documents(refusing_node, path, status):
    answered, body = get(f"{refusing_node}{path}")
    assert answered == status
    assert json.loads(body)["status"] == status


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_monitors_may_ask_for_the_head_alone(refusing_node, path):
    request = urllib.request.Request(f"{refusing_node}{path}", method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b"")


@pytest.fixture(scope="module")
def refusing_node(tmp_path_factory):
    """One node for all of the table above, in a loop of its own."""
    folder = tmp_path_factory.mktemp("refusing")
    loop = asyncio.new_event_loop()
    site = running(folder)
    opened = loop.run_until_complete(site.__aenter__())
    yield opened.node.url
    loop.run_until_complete(site.__aexit__(None, None, None))
    loop.close()


async def test_a_report_without_its_cda_is_refused_and_the_next_one_taken(tmp_path):
    async with running(tmp_path) as site:
        study = Study(STUDY, "IPP101", "ACC1", "CT")
        good = build_oru(study, AT)
        bad = b"\r".join(line for line in good.split(b"\r") if not line.startswith(b"OBX|1|"))
        port = site.node.hl7_port
        assert "MSA|AE|" in await asyncio.to_thread(send_report, "127.0.0.1", port, bad)
        assert site.outbox() == []
        assert "MSA|AA|" in await asyncio.to_thread(send_report, "127.0.0.1", port, good)


@pytest.mark.skipif(not Path("/usr/bin/storescu").exists(), reason="DCMTK is not installed")
async def test_dcmtk_hears_a_failure_for_a_malformed_data_set_and_success_after(tmp_path):
    damaged, sound = tmp_path / "damaged.dcm", tmp_path / "sound.dcm"
    ct(1, 1, StudyInstanceUID="").save_as(damaged, enforce_file_format=True)
    ct(1, 2).save_as(sound, enforce_file_format=True)
    async with running(tmp_path) as site:
        command = ["/usr/bin/storescu", "-v", "-aec", "NODE", "127.0.0.1", str(site.node.dicom_port)]
        for file, said in ((damaged, "CannotUnderstand"), (sound, "Success")):
            done = await asyncio.to_thread(
                subprocess.run, [*command, str(file)], capture_output=True, text=True, timeout=120
            )
            assert said in done.stdout + done.stderr


async def test_a_second_node_on_the_same_folder_is_refused(tmp_path):
    async with running(tmp_path) as site:
        command = ["drimbox", "serve", "--config", str(site.folder / "node.toml")]
        import sys

        command = [sys.executable, "-m", *command]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "in use by another node" in done.stderr
