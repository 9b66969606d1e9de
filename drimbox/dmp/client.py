"""The DMP as a neighbour: register a manifest (ITI-41), find (ITI-18) and fetch (ITI-43) what others registered.

Promise P7: a submission is frozen before it comes here. Each try rebuilds the envelope and the assertion, which expire,
never the document nor its ids; when the outcome of a try is in doubt, the registry is asked.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar
from uuid import uuid4

from lxml import etree

from drimbox.dmp.verdict import AlreadyThere, InDoubt, Refused, Registered, explain, judge
from drimbox.dmp.vihf import Mode, Signer, Speaker, build_vihf, read_signer, speaker_of
from drimbox.egress import Answer as HttpAnswer
from drimbox.egress import Egress, Identity
from drimbox.errors import Denied, Malformed, NotFound, TooLarge, Unavailable
from drimbox.model import Identifier, Report, Submission
from drimbox.settings import Dmp, DmpStructure
from drimbox.xds import codes
from drimbox.xds.answers import Listed, read_query_response, read_registry_response
from drimbox.xds.ebxml import find_documents, get_documents, provide_and_register, retrieve_document_set
from drimbox.xds.entry import read_cx
from drimbox.xds.mtom import build_mtom
from drimbox.xds.soap import Answer, Fault, build_envelope, read_answer, read_document
from drimbox.xds.xml import read_xml

MAX_DOCUMENT = 32 * 2**20  # a manifest of 100,000 instances is about 20 MB
_MAX_OUTCOME = 2**20
_MAX_LISTING = 16 * 2**20
_MAX_METADATA = 4 * 2**20

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Clock(Protocol):
    """What the module `drimbox.clock` gives."""

    def now(self) -> datetime:
        """The date and time, aware."""


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who speaks, about which patient, with the certificates of which structure."""

    speaker: Speaker
    ins: Identifier
    structure: DmpStructure
    mode: Mode
    secret: bool = False


@dataclass(frozen=True, slots=True)
class _Request:
    """A message ready to go. message_id: what the answer must relate to."""

    url: str
    identity: Identity
    message_id: str
    content_type: str
    content: bytes = field(repr=False)


class DmpClient:
    """Speaks to the DMP for each of the structures in the settings."""

    def __init__(self, settings: Dmp, egress: Egress, clock: Clock) -> None:
        self._settings = settings
        self._egress = egress
        self._clock = clock
        self._signers: dict[str, tuple[int, Signer]] = {}

    async def register(self, submission: Submission, report: Report) -> Registered | AlreadyThere | Refused:
        """Register a frozen submission, speaking as the professional who signed the report.

        Raises Unavailable when it is not known to be registered: the same submission is to be sent again later.
        """
        try:
            caller = self._caller(
                speaker_of(report), report.patient.ins, "INDIRECTE", submission.structure, report.secret_connection
            )
            request = await asyncio.to_thread(self._registration, submission, caller)
        except (Malformed, TooLarge, Denied) as error:
            return Refused(str(error))
        try:
            verdict = judge(await self._exchange(request, _MAX_OUTCOME))
        except Unavailable as error:
            verdict = InDoubt(error)
        return await self._settle(submission, caller, verdict.otherwise) if isinstance(verdict, InDoubt) else verdict

    async def find(self, ins: Identifier, speaker: Speaker) -> list[Listed]:
        """List the approved manifests of a patient, as the DMP orders them.

        Raises NotFound when the patient has no DMP, Denied when we hold no certificate for the speaker's structure,
        Unavailable when the DMP does not answer, or answers about somebody else.
        """
        caller = self._caller(speaker, ins, "INDIRECTE_RENFORCEE")
        return await self._query(find_documents(ins), caller)

    async def fetch(self, listed: Listed, speaker: Speaker) -> bytes:
        """Fetch a manifest that `find` listed, checked against its size and hash when the DMP told them.

        Raises NotFound, Denied, TooLarge, and Unavailable when what comes is not the document that was listed.
        """
        if listed.size_bytes is not None and listed.size_bytes > MAX_DOCUMENT:
            raise TooLarge("document", f"over {MAX_DOCUMENT} bytes")
        caller = self._caller(speaker, read_cx(listed.patient_id), "INDIRECTE_RENFORCEE")
        body = retrieve_document_set(listed.repository_id, listed.unique_id)
        answer = await self._call(self._settings.repository_url, codes.RETRIEVE_DOCUMENT_SET, body, caller)
        document = await asyncio.to_thread(_understood, read_document, answer, listed.unique_id)
        digest = await asyncio.to_thread(_sha1, document)
        if listed.size_bytes not in (None, len(document)) or listed.hash not in ("", digest):
            raise Unavailable("DMP", "the document is not the one that was listed: its size or its hash differs")
        return document

    # --- The parts of a call ----------------------------------------------------------------------------------------

    def _caller(
        self, speaker: Speaker, ins: Identifier | None, mode: Mode, structure: str = "", secret: bool = False
    ) -> _Caller:
        if ins is None:
            raise Malformed("patient", "no INS")
        wanted = structure or speaker.structure.id.value
        found = next((known for known in self._settings.structures if known.id == wanted), None)
        if found is None:
            raise Denied("structure", "no certificate in dmp.structures speaks for it")
        return _Caller(speaker, ins, found, mode, secret)

    async def _settle(
        self, submission: Submission, caller: _Caller, otherwise: Refused | Unavailable
    ) -> AlreadyThere | Refused:
        """Ask the registry whether it holds the document; if it does not, come back to `otherwise`."""
        try:
            listed = await self._query(get_documents(submission.unique_id), caller)
        except (Unavailable, NotFound) as error:
            if isinstance(otherwise, Unavailable):
                raise otherwise from error
            raise Unavailable("DMP", "it cannot be asked what became of a submission", detail=error.why) from error
        held = [entry.hash for entry in listed if entry.unique_id == submission.unique_id]
        if await asyncio.to_thread(_sha1, submission.manifest) in held:
            return AlreadyThere()
        if held:
            return Refused(explain(("XDSNonIdenticalHash",)))
        if isinstance(otherwise, Unavailable):
            raise otherwise
        return otherwise

    async def _query(self, body: etree._Element, caller: _Caller) -> list[Listed]:
        answer = await self._call(self._settings.registry_url, codes.REGISTRY_STORED_QUERY, body, caller)
        listed = await asyncio.to_thread(_understood, read_query_response, answer.body)
        if any(not _is_about(entry, caller.ins) for entry in listed):
            raise Unavailable("DMP", "it answers about another patient")
        return listed

    async def _call(self, url: str, action: str, body: etree._Element, caller: _Caller) -> Answer:
        """Ask one question that changes nothing. Raises NotFound, and Unavailable without a plain success."""
        request = await asyncio.to_thread(self._request, url, action, body, {}, caller)
        limit = MAX_DOCUMENT + _MAX_OUTCOME if action == codes.RETRIEVE_DOCUMENT_SET else _MAX_LISTING
        answer = await self._exchange(request, limit)
        if isinstance(answer, Fault):
            raise Unavailable("DMP", explain((), answer))
        outcome = _understood(read_registry_response, answer.body)
        if not outcome.is_success:
            missing = {"XDSUnknownPatientId", "XDSDocumentUniqueIdError"}.intersection(outcome.error_codes)
            raise (NotFound if missing else Unavailable)("DMP", explain(outcome.error_codes))
        return answer

    def _registration(self, submission: Submission, caller: _Caller) -> _Request:
        metadata = read_xml(submission.metadata, "metadata", _MAX_METADATA)
        content_id = f"{submission.unique_id}@drimbox"
        body = provide_and_register(metadata, [(submission.entry_uuid, content_id)])
        documents = {content_id: submission.manifest}
        return self._request(self._settings.repository_url, codes.PROVIDE_AND_REGISTER, body, documents, caller)

    def _request(
        self, url: str, action: str, body: etree._Element, documents: Mapping[str, bytes], caller: _Caller
    ) -> _Request:
        """Assertion, envelope and packing: a few milliseconds, off the loop."""
        if not url:
            raise Unavailable("DMP", "its address is not configured")
        structure = caller.structure
        message_id = f"urn:uuid:{uuid4()}"
        assertion = build_vihf(
            caller.speaker,
            caller.ins,
            self._settings.software,
            self._signer(structure),
            assertion_id=f"_{uuid4()}",
            now=self._clock.now(),
            mode=caller.mode,
            secret=caller.secret,
        )
        content = build_envelope(body, action=action, to=url, message_id=message_id, assertion=assertion)
        content_type = f'application/soap+xml; charset=UTF-8; action="{action}"'
        if documents:
            content_type, content = build_mtom(content, documents, action=action, boundary=f"drimbox-{uuid4().hex}")
        identity = Identity(structure.tls_certificate, structure.tls_key, self._settings.ca)
        return _Request(url, identity, message_id, content_type, content)

    def _signer(self, structure: DmpStructure) -> Signer:
        """The signer of a structure, loaded again when its files change."""
        try:
            files = structure.sign_certificate, structure.sign_key
            written = max(file.stat().st_mtime_ns for file in files)
            kept = self._signers.get(structure.id)
            if kept is None or kept[0] != written:
                kept = (written, read_signer(files[0].read_bytes(), files[1].read_bytes()))
                self._signers[structure.id] = kept
        except (OSError, Malformed) as error:
            raise Unavailable("signing certificate", "it cannot be used: see dmp.structures") from error
        return kept[1]

    async def _exchange(self, request: _Request, max_bytes: int) -> Answer | Fault:
        """Send, and read the SOAP answer. Whatever is not one is Unavailable: the outcome is then unknown."""
        try:
            answer = await self._egress.post(
                request.url,
                content=request.content,
                headers={"Content-Type": request.content_type, "Accept": "application/soap+xml, multipart/related"},
                identity=request.identity,
                timeout_s=self._settings.timeout_s,
                max_bytes=max_bytes,
            )
        except (Denied, Malformed) as error:
            raise Unavailable("DMP", f"its address is not usable: {error}") from error
        return await asyncio.to_thread(_read_http, answer, request.message_id)


def _read_http(answer: HttpAnswer, message_id: str) -> Answer | Fault:
    """SOAP 1.2 part 2 §7.5.1.2: a fault travels with 400 or 500, anything else that is not 200 is no SOAP answer."""
    if answer.status not in (200, 400, 500):
        raise Unavailable("DMP", f"HTTP status {answer.status}")
    try:
        read = read_answer(answer.headers.get("content-type", ""), answer.content, message_id)
    except (Malformed, TooLarge) as error:
        raise Unavailable("DMP", f"HTTP status {answer.status}, and no SOAP answer we can read: {error}") from error
    if answer.status != 200 and not isinstance(read, Fault):
        raise Unavailable("DMP", f"HTTP status {answer.status}")
    return read


def _understood(read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Read a part of an answer; what cannot be read is an unknown outcome, never our refusal."""
    try:
        return read(*args, **kwargs)
    except (Malformed, TooLarge) as error:
        raise Unavailable("DMP", f"its answer cannot be read: {error}") from error


def _is_about(entry: Listed, ins: Identifier) -> bool:
    patient = read_cx(entry.patient_id)
    return (patient.value, patient.authority) == (ins.value, ins.authority)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
