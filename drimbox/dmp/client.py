"""The DMP as a neighbour: publish, change and withdraw manifests, and read what others published.

    prepare, prepare_withdrawal, prepare_masking    make a Submission: ids and bytes, to be frozen by the caller
    submit                                          ITI-41 or ITI-57, by its kind
    entry, find, find_by_reference, fetch           ITI-18 and ITI-43
    dossier, authorise                              TD0.2 and TD0.3

Promise P7: a submission is frozen before it is submitted. Each try rebuilds the envelope and the assertion, which
expire, never the documents nor their ids; when the outcome of a try is in doubt, the registry is asked.
"""

import asyncio
import hashlib
from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

from lxml import etree

from drimbox.dmp.exchange import Caller, Clock, Exchange, Request, understood
from drimbox.dmp.settled import is_settled
from drimbox.dmp.structures import find_structure
from drimbox.dmp.submissions import MAX_METADATA, Ids, Office, build_masking, build_publication, build_withdrawal
from drimbox.dmp.verdict import AlreadyThere, InDoubt, Refused, Registered, explain, judge, means_nothing_there
from drimbox.dmp.vihf import Speaker, speaker_of
from drimbox.egress import Egress
from drimbox.errors import Denied, DrimboxError, Malformed, NotFound, TooLarge, Unavailable
from drimbox.model import Code, Exam, Identifier, Report, Submission
from drimbox.settings import Dmp
from drimbox.xds import codes
from drimbox.xds.answers import Listed, read_query_response, read_registry_response
from drimbox.xds.dossier import Dossier, existence_query, read_authorization, read_existence, set_authorization
from drimbox.xds.ebxml import document_entries, provide_and_register
from drimbox.xds.entry import read_cx
from drimbox.xds.questions import find_by_reference_id, find_documents, get_documents, retrieve_document_set
from drimbox.xds.soap import Answer, Fault, read_document
from drimbox.xds.xml import read_xml

MAX_DOCUMENT = 32 * 2**20  # a manifest of 100,000 instances is about 20 MB
_MAX_OUTCOME = 2**20
_MAX_LISTING = 16 * 2**20


class DmpClient:
    """Speaks to the DMP for each of the structures in the settings."""

    def __init__(self, settings: Dmp, egress: Egress, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._exchange = Exchange(settings, egress, clock)

    # --- Submissions, made once -------------------------------------------------------------------------------------

    async def prepare(
        self,
        report: Report,
        exam: Exam,
        *,
        kos: bytes,
        unique_id: str,
        created: datetime,
        new_uid: Callable[[], str],
        modalities: tuple[str, ...] = (),
        replaces: str = "",
    ) -> Submission:
        """Describe and sign a manifest, to be published or to replace the entry `replaces` (its entryUUID).

        unique_id, created: SOP Instance UID and Instance Creation of the KOS. new_uid: mints an OID. Raises Malformed
        when the report lacks what XDS requires, Denied when no certificate speaks for its structure, Unavailable
        while the DMP is not configured or a certificate cannot be used.
        """
        now = self._clock.now()
        return await asyncio.to_thread(
            build_publication,
            report,
            exam,
            await asyncio.to_thread(self._office, report),
            _mint(new_uid),
            kos=kos,
            unique_id=unique_id,
            created=created,
            submitted=now,
            modalities=modalities,
            replaces=replaces,
        )

    async def prepare_withdrawal(
        self, report: Report, published: Submission, registered: Listed, *, new_uid: Callable[[], str]
    ) -> Submission:
        """The end of a published manifest. registered: what `entry` answered. Raises as `prepare`."""
        office = await asyncio.to_thread(self._office, report)
        return build_withdrawal(report, office, _mint(new_uid), published, registered, submitted=self._clock.now())

    async def prepare_masking(
        self, report: Report, published: Submission, registered: Listed, *, new_uid: Callable[[], str]
    ) -> Submission:
        """The same manifest, for whom `report` now says. registered: what `entry` answered. Raises as `prepare`."""
        office = await asyncio.to_thread(self._office, report)
        return build_masking(report, office, _mint(new_uid), published, registered, submitted=self._clock.now())

    # --- Submissions, sent as often as it takes ---------------------------------------------------------------------

    async def submit(self, submission: Submission, report: Report) -> Registered | AlreadyThere | Refused:
        """Send a frozen submission, speaking as the professional who answers for the report.

        When a machine is the cause (IOCM, OMI^O23), the report is the one of the submission before (FAQ:8801).
        Raises Unavailable when it is not known to be done: the same submission is to be sent again later.
        """
        try:
            caller = self._caller_of(report, submission.structure)
            request = await asyncio.to_thread(self._submission, submission, caller)
        except (Malformed, TooLarge, Denied) as error:
            return Refused(str(error))
        try:
            verdict = judge(await self._exchange.send(request, _MAX_OUTCOME))
        except Unavailable as error:
            verdict = InDoubt(error)
        if isinstance(verdict, Refused):  # of this try: the one before it may have gone through
            verdict = InDoubt(verdict)
        return await self._settle(submission, caller, verdict.otherwise) if isinstance(verdict, InDoubt) else verdict

    async def entry(self, unique_id: str, report: Report, structure: str = "") -> Listed | None:
        """What the registry now calls the document it took from us (TD3.1b); None when it shows none that is current.

        A registry may give entries other entryUUIDs than those they came with: a replacement, a change and a
        withdrawal name the one it answers here. Raises Malformed, Denied, NotFound (no DMP), Unavailable.
        """
        caller = self._caller_of(report, structure)
        listed = await self._query(get_documents(unique_id), caller)
        return next((one for one in listed if one.unique_id == unique_id and one.status == codes.APPROVED), None)

    # --- Reading ----------------------------------------------------------------------------------------------------

    async def find(
        self,
        ins: Identifier,
        speaker: Speaker,
        *,
        events: tuple[tuple[Code, ...], ...] = (),
        created: tuple[str, str] = ("", ""),
    ) -> list[Listed]:
        """List the approved manifests of a patient, as the DMP orders them; events, created: as `find_documents`.

        Raises NotFound when the patient has no DMP, Denied when we hold no certificate for the speaker's structure,
        Unavailable when the DMP does not answer, or answers about somebody else.
        """
        caller = self._exchange.caller(speaker, ins, "INDIRECTE_RENFORCEE")
        return await self._query(find_documents(ins, events=events, created=created), caller)

    async def find_by_reference(self, ins: Identifier, speaker: Speaker, *references: str) -> list[Listed]:
        """List what has one of the references (CXi): the report and the manifest of one exam. Raises as `find`."""
        caller = self._exchange.caller(speaker, ins, "INDIRECTE_RENFORCEE")
        return await self._query(find_by_reference_id(ins, references), caller)

    async def fetch(self, listed: Listed, speaker: Speaker) -> bytes:
        """Fetch a manifest that `find` listed, checked against its size and hash when the DMP told them.

        Raises NotFound, Denied, TooLarge, and Unavailable when what comes is not the document that was listed.
        """
        if listed.size_bytes is not None and listed.size_bytes > MAX_DOCUMENT:
            raise TooLarge("document", f"over {MAX_DOCUMENT} bytes")
        caller = self._exchange.caller(speaker, read_cx(listed.patient_id), "INDIRECTE_RENFORCEE")
        body = retrieve_document_set(listed.repository_id, listed.unique_id)
        limit = MAX_DOCUMENT + _MAX_OUTCOME
        answer = await self._ask(self._settings.repository_url, codes.RETRIEVE_DOCUMENT_SET, body, caller, limit)
        _require_success(answer)
        document = await asyncio.to_thread(understood, read_document, answer, listed.unique_id)
        digest = await asyncio.to_thread(_sha1, document)
        if listed.size_bytes not in (None, len(document)) or listed.hash not in ("", digest):
            raise Unavailable("DMP", "the document is not the one that was listed: its size or its hash differs")
        return document

    async def dossier(self, ins: Identifier, speaker: Speaker) -> Dossier:
        """Does the patient have a DMP, and may the speaker open it (TD0.2)? Raises Denied, Unavailable."""
        caller = self._exchange.caller(speaker, ins, "INDIRECTE_RENFORCEE")
        body = existence_query(
            ins,
            source_id=self._settings.source_id,
            software=self._settings.software.name,
            message=uuid4(),
            query=uuid4(),
            now=self._clock.now(),
        )
        answer = await self._ask(self._settings.patients_url, codes.FIND_DOSSIER, body, caller, _MAX_OUTCOME)
        return understood(read_existence, answer.body, ins)

    async def authorise(self, ins: Identifier, speaker: Speaker) -> str:
        """Declare that the patient was informed and does not object (TD0.3): the speaker may open the DMP.

        Returns the status the DMP answers, a code of its own; `dossier` tells what came of it. To be called only when
        the professional said so. Raises Denied, Unavailable.
        """
        caller = self._exchange.caller(speaker, ins, "INDIRECTE_RENFORCEE")
        url = self._settings.habilitations_url
        answer = await self._ask(url, codes.SET_AUTHORIZATION, set_authorization(), caller, _MAX_OUTCOME)
        return understood(read_authorization, answer.body)

    # --- The parts of a call ----------------------------------------------------------------------------------------

    def _office(self, report: Report) -> Office:
        if not self._settings.repository_url:
            raise Unavailable("DMP", "its address is not configured")
        structure = find_structure(self._settings.structures, report.legal_structure.id.value)
        signer = self._exchange.signer(structure)
        return Office(structure, signer, self._settings.source_id, self._settings.signature_algorithm)

    def _caller_of(self, report: Report, structure: str) -> Caller:
        speaker, ins = speaker_of(report), report.patient.ins
        return self._exchange.caller(speaker, ins, "INDIRECTE", structure, report.secret_connection)

    def _submission(self, submission: Submission, caller: Caller) -> Request:
        metadata = read_xml(submission.metadata, "metadata", MAX_METADATA)
        if submission.kind in ("update", "withdraw"):
            return self._exchange.request(self._settings.registry_url, codes.UPDATE_DOCUMENT_SET, metadata, caller)
        named = {entry: f"{entry.removeprefix('urn:uuid:')}@drimbox" for entry in document_entries(metadata)}
        contents = {
            content_id: submission.manifest if entry == submission.entry_uuid else submission.signature
            for entry, content_id in named.items()
        }
        body = provide_and_register(metadata, named.items())
        url = self._settings.repository_url
        return self._exchange.request(url, codes.PROVIDE_AND_REGISTER, body, caller, contents)

    async def _settle(
        self, submission: Submission, caller: Caller, otherwise: Refused | Unavailable
    ) -> AlreadyThere | Refused:
        """Ask the registry whether it is as the submission wants it; if it is not, come back to `otherwise`."""
        try:
            listed = await self._query(get_documents(submission.unique_id), caller)
        except NotFound:  # no such patient there: no document either
            listed = []
        except DrimboxError as error:
            if isinstance(otherwise, Unavailable):
                raise otherwise from error
            raise Unavailable("DMP", "it cannot be asked what became of a submission", detail=error.why) from error
        own = [entry for entry in listed if entry.unique_id == submission.unique_id]
        if await asyncio.to_thread(is_settled, submission, own):
            current = next((entry.entry_uuid for entry in own if entry.status == codes.APPROVED), "")
            return AlreadyThere(current)
        if own and submission.kind in ("publish", "replace"):
            return Refused(explain(("XDSNonIdenticalHash",)))
        if isinstance(otherwise, Unavailable):
            raise otherwise
        return otherwise

    async def _query(self, body: etree._Element, caller: Caller) -> list[Listed]:
        answer = await self._ask(self._settings.registry_url, codes.REGISTRY_STORED_QUERY, body, caller, _MAX_LISTING)
        _require_success(answer)
        listed = await asyncio.to_thread(understood, read_query_response, answer.body)
        if any(not _is_about(entry, caller.ins) for entry in listed):
            raise Unavailable("DMP", "it answers about another patient")
        return listed

    async def _ask(self, url: str, action: str, body: etree._Element, caller: Caller, max_bytes: int) -> Answer:
        """Ask one question that changes no document. Raises Unavailable without an answer to it."""
        request = await asyncio.to_thread(self._exchange.request, url, action, body, caller)
        answer = await self._exchange.send(request, max_bytes)
        if isinstance(answer, Fault):
            raise Unavailable("DMP", explain((), answer))
        return answer


def _mint(new_uid: Callable[[], str]) -> Ids:
    return Ids(new_uid(), uuid4().urn, uuid4().urn, new_uid(), uuid4().urn)


def _require_success(answer: Answer) -> None:
    """Raises NotFound when there is no such patient or document, Unavailable without a plain success."""
    outcome = understood(read_registry_response, answer.body)
    if not outcome.is_success:
        raise (NotFound if means_nothing_there(outcome) else Unavailable)("DMP", explain(outcome.error_codes))


def _is_about(entry: Listed, ins: Identifier) -> bool:
    patient = read_cx(entry.patient_id)
    return (patient.value, patient.authority) == (ins.value, ins.authority)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
