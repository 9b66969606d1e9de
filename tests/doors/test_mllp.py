"""The MLLP door, at its socket: frames however they are cut, one answer a message, hostile senders, clean stops."""

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import hl7.client
import pytest

from drimbox.errors import Conflict, Denied, Unavailable
from drimbox.hl7.mllp import Hl7Door
from drimbox.model import Credentials, Report
from drimbox.sandbox.certificates import make_certificates
from drimbox.sandbox.ris import Study, build_mdm, build_oru, send_report
from drimbox.settings import Hl7

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DEADLINE_S = 60


def report(number: str = "1") -> bytes:
    return build_oru(Study("1.2.3", "PID1", "ACC1"), AT, message_id=number)


def framed(message: bytes) -> bytes:
    return b"\x0b" + message + b"\x1c\x0d"


@dataclass
class Publish:
    """The flow, played: keeps what arrives, raises what it is told to, waits when asked to."""

    raises: BaseException | None = None
    held: asyncio.Event | None = None
    arrived: list[tuple[Report, Credentials]] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def report_arrived(self, report: Report, credentials: Credentials) -> Literal["accepted", "replayed"]:
        self.begun.set()
        if self.held is not None:
            await self.held.wait()
        if self.raises is not None:
            raise self.raises
        known = any(other.message_id == report.message_id for other, _ in self.arrived)
        self.arrived.append((report, credentials))
        return "replayed" if known else "accepted"


class Sender:
    """A sender that can misbehave."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> list[str]:
        """The segments of the next answer."""
        data = await asyncio.wait_for(self.reader.readuntil(b"\x1c\x0d"), DEADLINE_S)
        assert data.startswith(b"\x0b")
        return data[1:-2].decode().rstrip("\r").split("\r")

    async def is_closed(self) -> bool:
        try:
            return await asyncio.wait_for(self.reader.read(1), DEADLINE_S) == b""
        except ConnectionResetError:
            return True


@asynccontextmanager
async def open_door(publish: Publish, **changes: object) -> AsyncIterator[tuple[str, int]]:
    door = Hl7Door(Hl7(port=0, **changes), publish)  # type: ignore[arg-type]
    address = await door.start()
    try:
        yield address
    finally:
        await asyncio.wait_for(door.stop(), DEADLINE_S)


@asynccontextmanager
async def connect(address: tuple[str, int]) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await asyncio.wait_for(writer.wait_closed(), DEADLINE_S)


@pytest.fixture
def publish() -> Publish:
    return Publish()


@pytest.fixture
async def sender(publish: Publish) -> AsyncIterator[Sender]:
    async with open_door(publish) as address, connect(address) as sender:
        yield sender


async def test_a_report_is_accepted_once_it_is_kept(publish: Publish, sender: Sender):
    message = report("77")
    await sender.send(framed(message))
    msh, msa = await sender.answer()
    assert msa == "MSA|AA|77"
    assert msh.split("|")[2:6] == ["DRIMBOX", "CENTRE-IMAGERIE", "RIS", "CENTRE-IMAGERIE"]
    assert msh.split("|")[8] == "ACK^R01^ACK" and msh.split("|")[17] == "UNICODE UTF-8"
    ((kept, credentials),) = publish.arrived
    assert (kept.message, kept.message_id) == (message, "RIS|CENTRE-IMAGERIE|77")
    assert (credentials.door, credentials.address) == ("hl7", "127.0.0.1")
    assert (credentials.calling, credentials.called) == ("RIS", "DRIMBOX")


async def test_mdm_t02_is_answered_by_ack_t02(sender: Sender):
    await sender.send(framed(build_mdm(Study("1.2.3"), AT, message_id="8")))
    msh, msa = await sender.answer()
    assert (msh.split("|")[8], msh.split("|")[11], msa) == ("ACK^T02^ACK", "2.6", "MSA|AA|8")


async def test_no_answer_before_it_is_kept(publish: Publish, sender: Sender):
    publish.held = asyncio.Event()
    await sender.send(framed(report()))
    await asyncio.wait_for(publish.begun.wait(), DEADLINE_S)
    assert not sender.reader._buffer  # type: ignore[attr-defined]
    publish.held.set()
    assert (await sender.answer())[1] == "MSA|AA|1"


async def test_one_byte_at_a_time(sender: Sender):
    small = framed(b"MSH|^~\\&|A|B|C|D|2026||ORU^R09|5|P|2.5\r")
    for position in range(len(small)):
        await sender.send(small[position : position + 1])
    assert (await sender.answer())[1] == "MSA|AR|5"


async def test_two_messages_in_one_segment_are_answered_in_order(sender: Sender):
    await sender.send(framed(report("1")) + framed(report("2")) + b"\r\n" + framed(report("3"))[:500])
    assert [(await sender.answer())[1], (await sender.answer())[1]] == ["MSA|AA|1", "MSA|AA|2"]
    await sender.send(framed(report("3"))[500:])
    assert (await sender.answer())[1].startswith("MSA|A")


async def test_the_same_message_a_hundred_times(publish: Publish, sender: Sender):
    message = framed(report("1"))
    for _ in range(100):
        await sender.send(message)
        assert (await sender.answer())[1] == "MSA|AA|1"
    assert len(publish.arrived) == 100  # the flow knows it is the same; the door always asks


async def test_garbage_before_the_start_block_is_skipped(sender: Sender):
    await sender.send(b"\x1c\x0dGET / HTTP/1.1\r\n\r\n\x00\xff" * 50 + framed(report("4")))
    assert (await sender.answer())[1] == "MSA|AA|4"


def with_cda(cda: bytes) -> bytes:
    return build_oru(Study("1.2.3"), AT, message_id="9", cda=cda)


REFUSED: list[tuple[str, bytes, str, str]] = [
    ("NUL", b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|9|P|2.5\rPID|\x00", "MSA|AE|9", "100"),
    ("start block inside", b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|9|P|2.5\rPI\x0bD|", "MSA|AE|9", "100"),
    ("no MSH", b"PID|1\r", "MSA|AE", "100"),
    ("endless MSH", b"MSH|^~\\&|A|B|" + b"^" * 3000 + b"|D|2026||ORU^R01|9|P|2.5\r", "MSA|AE", "100"),
    ("parts in MSH", b"MSH|^~\\&|A|B|" + b"^" * 1900 + b"|D|2026||ORU^R01|9|P|2.5\r", "MSA|AE|9", "101"),
    ("empty", b"", "MSA|AE", "100"),
    ("no CDA", b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|9|P|2.5\rPID|1", "MSA|AE|9", "101"),
    ("no control id", with_cda(b"").replace(b"|9|P|", b"||P|"), "MSA|AE", "101"),
    ("damaged base64", with_cda(b"x").replace(b"Base64^", b"Base64^!"), "MSA|AE|9", "102"),
    ("DOCTYPE", with_cda(b"<!DOCTYPE a><a/>"), "MSA|AE|9", "102"),
    ("wrong root", with_cda(b"<html/>"), "MSA|AE|9", "102"),
    (
        "no study",
        with_cda(b'<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2"/></ClinicalDocument>'),
        "MSA|AE|9",
        "101",
    ),
    ("query", b"MSH|^~\\&|A|B|C|D|2026||QRY^A19|9|P|2.5\r", "MSA|AR|9", "200"),
    ("MDM^T01", b"MSH|^~\\&|A|B|C|D|2026||MDM^T01^MDM_T02|9|P|2.6\r", "MSA|AR|9", "201"),
    ("version", b"MSH|^~\\&|A|B|C|D|2026||ORU^R01|9|P|2.9\r", "MSA|AR|9", "203"),
    ("no study changed", b"MSH|^~\\&|A|B|C|D|2026||OMI^O23|9|P|2.5.1\r", "MSA|AE|9", "101"),
]


@pytest.mark.parametrize(("message", "msa", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_a_wrong_message_is_refused_and_the_connection_continues(
    publish: Publish, sender: Sender, message: bytes, msa: str, code: str
):
    await sender.send(framed(message))
    answer = await sender.answer()
    assert answer[1] == msa
    assert answer[2].split("|")[3].split("^")[0] == code
    assert publish.arrived == []
    await sender.send(framed(report("10")))
    assert (await sender.answer())[1] == "MSA|AA|10"


@pytest.mark.parametrize(
    ("error", "msa"),
    [
        (Denied("report", "this sender may not"), "MSA|AR|1"),
        (Conflict("report", "x"), "MSA|AE|1"),
        (Unavailable("trail", "x"), "MSA|AR|1"),
        (TimeoutError(), "MSA|AR|1"),
    ],
)
async def test_refusals_of_the_flow(publish: Publish, sender: Sender, error: Exception, msa: str):
    publish.raises = error
    await sender.send(framed(report()))
    assert (await sender.answer())[1] == msa


async def test_a_bug_is_answered_with_an_incident_number(
    publish: Publish, sender: Sender, caplog: pytest.LogCaptureFixture
):
    publish.raises = RuntimeError("a bug")
    await sender.send(framed(report()))
    answer = await sender.answer()
    (record,) = [record for record in caplog.records if record.message == "hl7_message_failed"]
    assert answer[1] == "MSA|AR|1"
    assert record.incident in answer[2]  # type: ignore[attr-defined]
    publish.raises = None
    await sender.send(framed(report("2")))
    assert (await sender.answer())[1] == "MSA|AA|2"


async def test_a_message_over_the_limit_is_read_to_its_end_but_not_kept(publish: Publish):
    async with open_door(publish, max_message_bytes=65536) as address, connect(address) as sender:
        await sender.send(b"\x0b" + report("6") + b"NTE|1||" + b"x" * 3_000_000 + b"\x1c\x0d" + framed(report("7")))
        answer = await sender.answer()
        assert answer[1] == "MSA|AE|6"
        assert "over 65536 bytes" in answer[2]
        assert (await sender.answer())[1] == "MSA|AA|7"
    assert len(publish.arrived) == 1


@pytest.mark.parametrize(("beginning", "setting"), [(b"", "idle_timeout_s"), (b"\x0bMSH|", "message_timeout_s")])
async def test_deadlines_are_absolute(publish: Publish, beginning: bytes, setting: str):
    """A sender that trickles never puts the end off."""
    async with open_door(publish, **{setting: 0.2}) as address, connect(address) as sender:
        await sender.send(beginning)

        async def trickle() -> None:
            while True:
                await sender.send(b".")
                await asyncio.sleep(0.01)

        slow = asyncio.create_task(trickle())
        try:
            assert await sender.is_closed()
        finally:
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)
    assert publish.arrived == []


async def test_a_message_without_end_block_is_dropped_when_the_sender_leaves(publish: Publish):
    async with open_door(publish) as address:
        async with connect(address) as sender:
            await sender.send(b"\x0b" + report())
        async with connect(address) as sender:
            await sender.send(framed(report("2")))
            assert (await sender.answer())[1] == "MSA|AA|2"
    assert [kept.message_id for kept, _ in publish.arrived] == ["RIS|CENTRE-IMAGERIE|2"]


async def test_only_listed_senders_and_only_so_many(publish: Publish):
    async with open_door(publish, senders=("192.0.2.1",)) as address, connect(address) as sender:
        assert await sender.is_closed()
    async with open_door(publish, max_connections=1) as address, connect(address) as first:
        await first.send(framed(report("1")))
        assert (await first.answer())[1] == "MSA|AA|1"
        async with connect(address) as second:
            assert await second.is_closed()
        await first.send(framed(report("2")))
        assert (await first.answer())[1] == "MSA|AA|2"


async def test_stop_answers_the_message_in_hand_and_ends_the_idle(publish: Publish):
    publish.held = asyncio.Event()
    door = Hl7Door(Hl7(port=0), publish)
    address = await door.start()
    async with connect(address) as busy, connect(address) as idle, connect(address) as halfway:
        await halfway.send(b"\x0bMSH|")
        await busy.send(framed(report("1")) + framed(report("2")))
        await asyncio.wait_for(publish.begun.wait(), DEADLINE_S)
        stopping = asyncio.create_task(door.stop())
        assert await idle.is_closed() and await halfway.is_closed()
        publish.held.set()
        assert (await busy.answer())[1] == "MSA|AA|1"
        assert await busy.is_closed()
        await asyncio.wait_for(stopping, DEADLINE_S)


async def test_no_log_names_the_patient(publish: Publish, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    wrong = base64.b64encode(b"<a>PAT-TROIS</b>")
    async with open_door(publish) as address, connect(address) as sender:
        for message in (report("1"), build_oru(Study("1.2.3"), AT, cda=base64.b64decode(wrong))):
            await sender.send(framed(message))
            await sender.answer()
    text = " ".join(f"{record.getMessage()} {record.__dict__} {record.exc_text}" for record in caplog.records)
    assert "hl7_message_kept" in text and "hl7_message_refused" in text
    for value in ("PAT-TROIS", "DOMINIQUE", "279035121518989", "IPP101", "PID1", "ACC1"):
        assert value not in text


async def test_an_independent_sender_and_our_own(publish: Publish):
    async with open_door(publish) as (host, port):

        def send() -> str:
            with hl7.client.MLLPClient(host, port) as client:
                answer = client.send_message(report("21"))
            return str(answer.decode()[1:-2])

        parsed = hl7.parse(await asyncio.to_thread(send))
        assert str(parsed.segment("MSA")[1]) == "AA"
        ours = await asyncio.to_thread(send_report, host, port, report("22"), DEADLINE_S)
        assert "MSA|AA|22" in ours
    with pytest.raises(Unavailable):
        await asyncio.to_thread(send_report, host, port, report("23"), 1)


async def test_over_tls_only_senders_with_a_known_certificate_are_heard(publish: Publish, tmp_path):
    made = make_certificates(tmp_path)
    files = {"tls_certificate": made.server_certificate, "tls_key": made.server_key, "tls_ca": made.ca}
    known, stranger = (ssl.create_default_context(cafile=made.ca) for _ in range(2))
    known.load_cert_chain(made.own.tls_certificate, made.own.tls_key)
    async with open_door(publish, **files) as (host, port):
        reader, writer = await asyncio.open_connection(host, port, ssl=known, server_hostname="localhost")
        sender = Sender(reader, writer)
        await sender.send(framed(report("7")))
        assert (await sender.answer())[1] == "MSA|AA|7"
        writer.close()
        await writer.wait_closed()
        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            reader, writer = await asyncio.open_connection(host, port, ssl=stranger, server_hostname="localhost")
            try:
                writer.write(framed(report("8")))
                await asyncio.wait_for(reader.readuntil(b"\x1c"), DEADLINE_S)
            finally:
                writer.close()
        async with connect((host, port)) as plain:
            await plain.send(framed(report("9")))
            assert await plain.is_closed()
    assert [report.message_id for report, _ in publish.arrived] == ["RIS|CENTRE-IMAGERIE|7"]
