"""The ways in which the sandbox DMP goes wrong on demand, and the HTTP replies it can give, whole or broken."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from drimbox.sandbox.dmp_wire import Fault, write_answer, write_fault, write_registry_response

SOAP_TYPE = "application/soap+xml; charset=UTF-8"

Broken = Literal[
    "fault",  # SOAP fault, Receiver
    "refusal",  # SOAP fault, Sender
    "expired",  # SOAP fault of WS-Security
    "busy",  # RegistryErrorList at HTTP 200, passing
    "no-dmp",  # RegistryErrorList at HTTP 200, final
    "partial-success",
    "error",  # RegistryErrorList at HTTP 200, with the code that is told
    "503",
    "500",
    "html",  # a web page at HTTP 200
    "silence",
    "slow",  # the right answer, a few bytes at a time
    "twice",  # the right answer, and again
    "cut",  # the line, before any answer
    "cut-half-way",
    "other-message",  # a success, for another message than ours
    "50-mb",
]
# The right answer, but for one thing: warning: with the warning that is told. own-ids: entryUUIDs of the DMP's own.
Altered = Literal["other-patient", "other-bytes", "odd-mime", "warning", "own-ids"]
How = Literal[Broken, Altered]

_SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
_FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
_PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
_MESSAGE_ID = re.compile(rb"MessageID>(urn:uuid:[0-9a-f-]{36})<")


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What goes wrong with one request. after_commit: the work is done first, whatever the caller is told.

    code: of the error or the warning.
    """

    how: How
    after_commit: bool = False
    code: str = ""


class Reply:
    """One HTTP exchange over ASGI. transport: the connection itself, to be able to cut it."""

    def __init__(self, receive: Any, send: Any, transport: Any) -> None:
        self._receive = receive
        self._send = send
        self._transport = transport

    async def read(self, max_bytes: int) -> bytes:
        """The whole request body; what is over the limit is dropped."""
        content = bytearray()
        more = True
        while more:
            event = await self._receive()
            content += event.get("body", b"")[: max_bytes - len(content)]
            more = event.get("more_body", False)
        return bytes(content)

    async def send(self, status: int, content_type: str, content: bytes, *, chunked: bool = False) -> None:
        """A whole answer. chunked: without its length, in small pieces."""
        length = [] if chunked else [(b"content-length", str(len(content)).encode("ascii"))]
        await self._start(status, content_type, length)
        step = 1000 if chunked else max(len(content), 1)
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def send_large(self, megabytes: int) -> None:
        """An answer larger than anybody should read."""
        await self._start(200, SOAP_TYPE, [])
        for _ in range(megabytes):
            await self._send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def send_slowly(self, content: bytes) -> None:
        """Sixteen bytes at a time, ten times a second."""
        await self._start(200, SOAP_TYPE, [])
        for start in range(0, len(content), 16):
            piece = content[start : start + 16]
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0.1)
        await self._send({"type": "http.response.body", "body": b""})

    async def cut(self, content: bytes) -> None:
        """Cut the line after half of `content`, or before any byte when it is empty."""
        if content:
            await self._start(200, SOAP_TYPE, [(b"content-length", str(len(content)).encode("ascii"))])
            half = content[: len(content) // 2]
            await self._send({"type": "http.response.body", "body": half, "more_body": True})
        self._transport.abort()
        await self.wait_for_disconnect()

    async def wait_for_disconnect(self) -> None:
        """Say nothing until the other end has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, status: int, content_type: str, headers: list[tuple[bytes, bytes]]) -> None:
        named = [(b"content-type", content_type.encode("latin-1")), *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": named})


async def go_wrong(wrong: Misbehaviour, reply: Reply, request: bytes, answer: bytes) -> None:
    """Answer badly. request: the body received. answer: the right answer, empty when no work was done."""
    found = _MESSAGE_ID.search(request)
    message_id = found[1].decode("ascii") if found else ""
    match cast(Broken, wrong.how):
        case "fault":
            await reply.send(500, SOAP_TYPE, write_fault(Fault("internal", "Receiver"), message_id))
        case "refusal":
            await reply.send(400, SOAP_TYPE, write_fault(Fault("not understood"), message_id))
        case "expired":
            await reply.send(500, SOAP_TYPE, write_fault(Fault("expired", subcode="MessageExpired"), message_id))
        case "busy":
            await reply.send(200, SOAP_TYPE, _outcome(_FAILURE, message_id, "XDSRepositoryBusy"))
        case "no-dmp":
            await reply.send(200, SOAP_TYPE, _outcome(_FAILURE, message_id, "XDSUnknownPatientId"))
        case "partial-success":
            await reply.send(200, SOAP_TYPE, _outcome(_PARTIAL, message_id, "XDSRepositoryError"))
        case "error":
            await reply.send(200, SOAP_TYPE, _outcome(_FAILURE, message_id, wrong.code))
        case "503":
            await reply.send(503, "text/plain", b"try again later")
        case "slow":
            await reply.send_slowly(answer or _outcome(_SUCCESS, message_id))
        case "twice":
            await reply.send(200, SOAP_TYPE, (answer or _outcome(_SUCCESS, message_id)) * 2)
        case "other-message":
            other = "urn:uuid:00000000-0000-4000-8000-000000000000"
            await reply.send(200, SOAP_TYPE, _outcome(_SUCCESS, other))
        case "500":
            await reply.send(500, "text/html", b"<html><body>Internal Server Error</body></html>")
        case "html":
            await reply.send(200, "text/html", b"<html><body>Maintenance</body></html>")
        case "silence":
            await reply.wait_for_disconnect()
        case "cut":
            await reply.cut(b"")
        case "cut-half-way":
            await reply.cut(answer or _outcome(_SUCCESS, message_id))
        case "50-mb":
            await reply.send_large(50)


def _outcome(status: str, message_id: str, *errors: str) -> bytes:
    body = write_registry_response(status, [(code, "context") for code in errors])
    return write_answer(body, "urn:ihe:iti:2007:Answer", message_id)
