"""A DMP for tests and for the sandbox: repository and registry of XDS.b, strict, on loopback, misbehaving on demand.

It requires a client certificate and a VIHF, checks each message as `dmp_wire`, `dmp_assertion` and `dmp_rules` say, and
keeps what it accepts in a folder. It shares no builder and no parser with the product.

    POST /repository            ITI-41, ITI-43
    POST /registry              ITI-18: FindDocuments, FindDocumentsByReferenceId, GetDocuments; ITI-57
    POST /patients              TD0.2: has this patient a DMP?
    POST /habilitations         TD0.3: the patient was informed
    GET  /control/documents     what it holds, as JSON; ?patient=<CX>
    POST /control/misbehave     {"transaction": "register", "how": "cut", "after_commit": true}
"""

import asyncio
import json
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from ssl import CERT_REQUIRED
from types import MappingProxyType
from typing import Any, Literal, get_args
from urllib.parse import parse_qs
from uuid import uuid4

import uvicorn
from cryptography import x509
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from drimbox.sandbox.certificates import SandboxCertificates
from drimbox.sandbox.dmp_assertion import Entities, Vihf, check_vihf
from drimbox.sandbox.dmp_dossier import answer_authorisation, answer_existence
from drimbox.sandbox.dmp_misbehave import SOAP_TYPE, Altered, Misbehaviour, Reply, go_wrong
from drimbox.sandbox.dmp_queries import answer_query, answer_retrieve
from drimbox.sandbox.dmp_rules import RuleBrokenError, check_submission
from drimbox.sandbox.dmp_store import DEPRECATED, Holding, Store
from drimbox.sandbox.dmp_update import apply_update
from drimbox.sandbox.dmp_wire import (
    NAMES,
    Fault,
    Request,
    read_request,
    write_answer,
    write_fault,
    write_registry_response,
)

Transaction = Literal["register", "query", "retrieve", "update", "existence", "authorisation"]

_ACTIONS: Mapping[tuple[str, str], Transaction] = {
    ("/repository", "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"): "register",
    ("/repository", "urn:ihe:iti:2007:RetrieveDocumentSet"): "retrieve",
    ("/registry", "urn:ihe:iti:2007:RegistryStoredQuery"): "query",
    ("/registry", "urn:ihe:iti:2010:UpdateDocumentSet"): "update",
    ("/patients", "urn:hl7-org:v3:PRPA_IN201307UV02"): "existence",
    ("/habilitations", "urn:si-dmp-habilitations:HabilitationsEndPoint:setAuthorization"): "authorisation",
}
_ACTION = re.compile(r'action="([^"]+)"')
_SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
_FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
_MAX_BODY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Heard:
    """Who sent one message: by the certificate of the channel, and by the VIHF."""

    transaction: Transaction
    client: x509.Certificate
    vihf: Vihf


class Dmp:
    """The ASGI application. A misbehaviour is used up by one request of its transaction.

    entities: legal entities whose certificates speak for their sites. heard: the last messages whose VIHF was accepted.
    mood: asked for one at each request that has none waiting, with its body. pause_s: how long it thinks about each.
    """

    def __init__(self, folder: Path, ca: Path, entities: Entities = MappingProxyType({})) -> None:
        self.received: dict[Transaction, int] = dict.fromkeys(get_args(Transaction), 0)
        self.heard: deque[Heard] = deque(maxlen=1000)
        self.without: set[str] = set()  # INS of patients that have no DMP
        self.pause_s = 0.0
        self.mood: Callable[[Transaction, bytes], Misbehaviour | None] = lambda transaction, content: None
        self._store = Store(folder)
        self._entities = entities
        self._ca = x509.load_pem_x509_certificate(ca.read_bytes())
        self._next: dict[Transaction, deque[Misbehaviour]] = {name: deque() for name in get_args(Transaction)}

    def misbehave(self, transaction: Transaction, *misbehaviours: Misbehaviour) -> None:
        """Queue misbehaviours, one a request."""
        self._next[transaction].extend(misbehaviours)

    def documents(self, patient_id: str = "") -> list[Holding]:
        """What it holds, of one patient (CX) or of all, in order of arrival; without what signs the others."""
        return [held for held in self._store.by_patient(patient_id) if held.mime_type != "text/xml"]

    def signatures(self) -> list[Holding]:
        """What signs the submission sets, in order of arrival."""
        return [held for held in self._store.by_patient() if f'"{NAMES["ds"]}"' in held.metadata]

    def take(self, holding: Holding) -> None:
        """Keep a document that came another way than by ITI-41."""
        with self._store.transaction():
            self._store.add(holding)

    def forget(self) -> None:
        """Start anew: no document, no id seen, nothing counted, no misbehaviour left."""
        self._store.forget()
        self.heard.clear()
        self.without.clear()
        self.received.update(dict.fromkeys(self.received, 0))
        for queued in self._next.values():
            queued.clear()

    def close(self) -> None:
        """Close the folder."""
        self._store.close()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        state = scope.get("state", {})
        reply = Reply(receive, send, state.get("transport"))
        content = await reply.read(_MAX_BODY)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path = scope["path"]
        found = _ACTION.search(headers.get("content-type", ""))
        action = found[1] if found else ""
        if path.startswith("/control/"):
            await self._control(scope["method"], path, scope["query_string"].decode("ascii"), content, reply)
        elif scope["method"] != "POST" or (path, action) not in _ACTIONS:
            await reply.send(404, "text/plain", b"no such service, or no action parameter")
        elif "client_certificate" not in state:
            await reply.send(403, "text/plain", b"a client certificate is required")
        else:
            asked = _Asked(f"https://{headers.get('host', '')}{path}", action, headers["content-type"], content)
            await self._answer(asked, x509.load_der_x509_certificate(state["client_certificate"]), reply)

    async def _answer(self, asked: "_Asked", client: x509.Certificate, reply: Reply) -> None:
        transaction = _ACTIONS[asked.url[asked.url.rindex("/") :], asked.action]
        self.received[transaction] += 1
        await asyncio.sleep(self.pause_s)
        queued = self._next[transaction]
        wrong = queued.popleft() if queued else self.mood(transaction, asked.content)
        altered = wrong.how if wrong is not None and wrong.how in get_args(Altered) else None
        if wrong is not None and altered is None and not wrong.after_commit:
            await go_wrong(wrong, reply, asked.content, b"")
            return
        message_id = ""
        try:
            request = read_request(asked.content_type, asked.content, asked.url, asked.action)
            message_id = request.message_id
            vihf = check_vihf(request.envelope, self._ca, client, datetime.now(UTC), self._entities)
            if not (self._store.first_time(vihf.assertion_id) and self._store.first_time(message_id)):
                raise Fault("assertion or message id used before", subcode="InvalidSecurity")
            self.heard.append(Heard(transaction, client, vihf))
            content_type, answer = self._work(transaction, request, vihf, wrong if altered else None)
        except Fault as fault:
            await reply.send(400, SOAP_TYPE, write_fault(fault, message_id))
            return
        if wrong is not None and altered is None:
            await go_wrong(wrong, reply, asked.content, answer)
        else:
            await reply.send(200, content_type, answer, chunked=altered == "odd-mime")

    def _work(
        self, transaction: Transaction, request: Request, vihf: Vihf, altered: Misbehaviour | None
    ) -> tuple[str, bytes]:
        action, how = f"{request.action}Response", altered.how if altered else ""
        match transaction:
            case "retrieve":
                odd, tampered = how == "odd-mime", how == "other-bytes"
                return answer_retrieve(request, vihf.patient_id, self._store, action, plain=not odd, tampered=tampered)
            case "query":
                body = answer_query(request.body, vihf.patient_id, self._store)
            case "register":
                body = self._register(request, vihf, altered)
            case "update":
                body = self._update(request, vihf)
            case "existence":
                body = answer_existence(request.body, vihf, self._store, self.without)
            case "authorisation":
                body = answer_authorisation(request.body, vihf, self._store, self.without)
        if how == "other-patient":
            body = body.replace(vihf.patient_id.partition("^")[0], "299999999999999")
        return SOAP_TYPE, write_answer(body, action, request.message_id)

    def _register(self, request: Request, vihf: Vihf, altered: Misbehaviour | None) -> str:
        try:
            with self._store.transaction():
                now = datetime.now(UTC)
                accepted = check_submission(request.body, request.parts, vihf, self._store, self._ca, now)
                for entry_uuid in accepted.replaced:
                    self._store.set_status(entry_uuid, DEPRECATED)
                for holding in accepted.holdings:
                    own = altered is not None and altered.how == "own-ids"
                    self._store.add(replace(holding, entry_uuid=uuid4().urn) if own else holding)
        except RuleBrokenError as broken:
            return write_registry_response(_FAILURE, [(broken.code, broken.context)])
        if altered is not None and altered.how == "warning":
            return write_registry_response(_SUCCESS, [(altered.code, "context")], "Warning")
        return write_registry_response(_SUCCESS)

    def _update(self, request: Request, vihf: Vihf) -> str:
        try:
            with self._store.transaction():
                apply_update(request.body, vihf, self._store)
        except RuleBrokenError as broken:
            return write_registry_response(_FAILURE, [(broken.code, broken.context)])
        return write_registry_response(_SUCCESS)

    async def _control(self, method: str, path: str, query: str, content: bytes, reply: Reply) -> None:
        if (method, path) == ("GET", "/control/documents"):
            held = [
                {"unique_id": h.unique_id, "patient_id": h.patient_id, "hash": h.hash, "status": h.status}
                for h in self.documents(parse_qs(query).get("patient", [""])[0])
            ]
            await reply.send(200, "application/json", json.dumps(held).encode())
        elif (method, path) == ("POST", "/control/misbehave"):
            asked = json.loads(content)
            wrong = Misbehaviour(asked["how"], bool(asked.get("after_commit")), asked.get("code", ""))
            self.misbehave(asked["transaction"], wrong)
            await reply.send(200, "application/json", b"{}")
        else:
            await reply.send(404, "text/plain", b"")


@dataclass(frozen=True, slots=True)
class _Asked:
    url: str
    action: str
    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class RunningDmp:
    """A DMP that listens. `app` lists what it holds and makes it misbehave."""

    app: Dmp
    port: int
    repository_url: str
    registry_url: str
    patients_url: str
    habilitations_url: str


@asynccontextmanager
async def serve(
    folder: Path, certificates: SandboxCertificates, *, port: int = 0, entities: Entities = MappingProxyType({})
) -> AsyncIterator[RunningDmp]:
    """Run a DMP on loopback inside the current event loop, over mutual TLS. port 0: any free one."""
    app = Dmp(folder, certificates.ca, entities)
    # The protocol is told because asyncio turns Nagle's algorithm off only where it is; else each answer waits 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        config = uvicorn.Config(
            app,
            http=_Connection,
            lifespan="off",
            log_level="error",
            timeout_graceful_shutdown=1,
            ssl_certfile=certificates.server_certificate,
            ssl_keyfile=str(certificates.server_key),
            ssl_ca_certs=str(certificates.ca),
            ssl_cert_reqs=CERT_REQUIRED,
        )
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        base = f"https://localhost:{port}"
        try:
            urls = [f"{base}/{name}" for name in ("repository", "registry", "patients", "habilitations")]
            yield RunningDmp(app, port, *urls)
        finally:
            server.leave.set()
            await task
            app.close()


class _Server(uvicorn.Server):
    """Stops when told, without looking ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.leave = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait to be told to leave."""
        await self.leave.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs us."""
        yield


class _Connection(HttpToolsProtocol):
    """Shows the application the certificate of the client and the connection itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.app_state = {**self.app_state, "transport": transport, "client_certificate": certificate}
