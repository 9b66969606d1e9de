"""The life of one association: request, messages, end (PS3.7 §9, PS3.4 annexes A and B)."""

import logging
import secrets
from collections.abc import Mapping
from typing import Final

from drimbox import clock
from drimbox.auth.policy import CALLED_TITLE, USER_IDENTITY
from drimbox.dicom.command import (
    C_CANCEL_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
)
from drimbox.dicom.pdu import (
    CALLED_TITLE_NOT_RECOGNIZED,
    CALLING_TITLE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    TEMPORARY_CONGESTION,
    USER_IDENTITY_NOT_ACCEPTED,
    AssociateRequest,
    Rejection,
    build_associate_accept,
)
from drimbox.dicom_scp.allowance import Spool
from drimbox.dicom_scp.commitment import Reports
from drimbox.dicom_scp.faults import find_fault
from drimbox.dicom_scp.identities import name_of
from drimbox.dicom_scp.link import Event, Link, Shared
from drimbox.dicom_scp.messages import Assembly, Message
from drimbox.dicom_scp.negotiation import Context, answer, find_rejection
from drimbox.dicom_scp.operation import Answer, Operation
from drimbox.dicom_scp.query import find
from drimbox.dicom_scp.retrieval import get, move
from drimbox.dicom_scp.status import (
    COMMIT_STATUS,
    DIMSE_STATUS,
    DUPLICATE_INVOCATION,
    PROCESSING_FAILURE,
    QUERY_STATUS,
    RETRIEVE_STATUS,
    SUCCESS,
    WARNING_SET_ASIDE,
    error_comment,
)
from drimbox.errors import Denied, DrimboxError, Malformed, Unidentified
from drimbox.flows.commit import Commit
from drimbox.flows.forward import Forward
from drimbox.flows.ingest import SetAside
from drimbox.model import Credentials

log = logging.getLogger(__name__)

_LISTENING: Final = frozenset({C_FIND_RQ, C_GET_RQ, C_MOVE_RQ})
_REJECTIONS: Final = {CALLED_TITLE: CALLED_TITLE_NOT_RECOGNIZED, USER_IDENTITY: USER_IDENTITY_NOT_ACCEPTED}


class Association:
    """Serve one connection from its first byte to its last."""

    def __init__(self, shared: Shared, link: Link) -> None:
        self._shared = shared
        self._ingest = shared.ingest
        self._counts = shared.counts
        self._limits = shared.limits
        self._caller = ""  # who is held to the limits
        self._link = link
        self._maximum_length = 0  # of the P-DATA the other side receives
        self._stored = self._failed = 0

    async def serve(self) -> None:
        """Return once the socket is gone and what was accepted is finished."""
        try:
            request = await self._link.next()
            if isinstance(request, AssociateRequest):
                await self._answer(request)
        except DrimboxError as error:
            log.error("association_failed", extra={"what": error.what, "why": error.why, "detail": error.detail})
            self._link.abort("failed")
        except Exception:
            log.exception("dimse_bug", extra={"incident": secrets.token_hex(4)})
            self._link.abort("bug")
        await self._link.closed()

    async def _answer(self, request: AssociateRequest) -> None:
        rejection = find_rejection(request)
        self._caller = f"{request.calling.strip(' ')}@{self._link.address}"
        if rejection is not None:
            self._reject(rejection)
        elif not await self._limits.associations.enter(self._caller):
            self._reject(LOCAL_LIMIT_EXCEEDED)
        else:
            self._counts.add("associations")
            try:
                await self._admit(request)
            finally:
                self._counts.add("associations", -1)
                self._limits.associations.leave(self._caller)

    async def _admit(self, request: AssociateRequest) -> None:
        address, settings, identity = self._link.address, self._shared.settings, request.user.identity
        credentials = Credentials(
            "dicom", address, request.calling, request.called, self._link.certificate, name_of(identity, settings)
        )
        is_proven = False

        async def prove() -> None:
            nonlocal is_proven
            is_proven = await self._limits.identities.prove(identity, address, settings)

        try:
            reader = await self._ingest.association(credentials, prove)
        except (Denied, Unidentified) as refusal:
            self._reject(_REJECTIONS.get(refusal.what, CALLING_TITLE_NOT_RECOGNIZED))
            return
        except DrimboxError as error:
            if error.what != USER_IDENTITY:  # the trail cannot be written: nobody comes in
                what = {"what": error.what, "why": error.why, "detail": error.detail}
                log.error("association_failed", extra=what)
            self._reject(TEMPORARY_CONGESTION)
            return
        accept, contexts = answer(request, settings.max_pdu_bytes, is_user_accepted=is_proven)
        self._maximum_length = request.user.maximum_length
        assembly = Assembly(contexts, self._open_spool)
        extra = {"address": self._link.address, "calling": request.calling, "contexts": len(contexts)}
        log.info("association_opened", extra=extra)
        self._link.accept(build_associate_accept(accept), assembly)
        self._reports = Reports(self._link, self._maximum_length)
        try:
            await self._serve_messages(credentials, contexts)
        finally:
            await self._reports.close()
            self._failed += self._link.was_cut
            ended = {"address": self._link.address, "ending": self._link.ending}
            log.info("association_ended", extra=ended | {"stored": self._stored, "failed": self._failed})
            await self._ingest.finished(reader, self._stored, self._failed)

    def _reject(self, rejection: Rejection) -> None:
        extra = {"address": self._link.address, "source": rejection.source, "reason": rejection.reason}
        if times := self._shared.refusals.count((self._link.address, rejection), clock.ticks()):
            log.warning("association_rejected", extra=extra | {"times": times})
        self._counts.add("rejected")
        self._link.reject(rejection)

    async def _serve_messages(self, credentials: Credentials, contexts: Mapping[int, Context]) -> None:
        too_early: Event | None = None  # a request that came while one of its Message ID was under way
        while isinstance(message := await self._next(), Message):
            if message.command.field == C_CANCEL_RQ:  # nothing is under way any more: it has no response of its own
                continue
            operation = Operation(message, self._link, self._maximum_length)
            if message is too_early:
                message.discard()
                last = self._refuse(DUPLICATE_INVOCATION, "Message ID: that of an operation under way")
            else:
                last = await self._perform(operation, credentials, contexts)
            too_early = self._find_too_early(message)
            if message.command.field == C_STORE_RQ:
                self._count(last.status)
            operation.respond(last)

    def _find_too_early(self, message: Message) -> Event | None:
        """Of the operations that listen while they last: only there can a second one be heard."""
        if message.command.field not in _LISTENING:
            return None
        coming = self._link.expect()
        event = coming.result() if coming.done() else None
        return event if isinstance(event, Message) and event.command.message_id == message.command.message_id else None

    async def _next(self) -> Event | None:
        """The next event; while it is waited for, reports may be sent."""
        self._reports.is_free.set()
        try:
            return await self._link.next()
        finally:
            self._reports.is_free.clear()

    async def _perform(self, operation: Operation, credentials: Credentials, contexts: Mapping[int, Context]) -> Answer:
        """Do what the command says; the last response, or the only one."""
        message, table = operation.message, DIMSE_STATUS
        field = message.command.field
        if fault := find_fault(message.command, message.context.abstract_syntax):
            message.discard()
            return self._refuse(*fault)
        try:
            if field == C_STORE_RQ:
                return await self._store(message)
            if field == C_FIND_RQ:
                table = QUERY_STATUS
                return await find(operation, self._shared.retrieve, credentials, self._shared.settings.ae_title)
            if field == C_GET_RQ:
                table = RETRIEVE_STATUS
                return await get(operation, self._shared.retrieve, credentials, contexts)
            if field == C_MOVE_RQ:
                table = RETRIEVE_STATUS
                return await move(operation, Forward(self._shared.retrieve, self._shared.settings), credentials)
            if field == N_ACTION_RQ:
                table = COMMIT_STATUS
                archive, admit = self._shared.retrieve.archive, self._shared.retrieve.admit
                return await self._reports.ask(message, Commit(archive, admit, self._shared.settings), credentials)
            return Answer(SUCCESS)  # C-ECHO
        except DrimboxError as refusal:
            return self._refuse(table[type(refusal)], str(refusal), refusal.detail)
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("dimse_bug", extra={"incident": incident})
            return Answer(PROCESSING_FAILURE, f"incident {incident}")

    def _open_spool(self, sop_class_uid: str, sop_uid: str, transfer_syntax: str) -> Spool:
        content = self._ingest.open(sop_class_uid, sop_uid, transfer_syntax)
        return Spool(content, self._limits.allowances, self._caller, self._shared.settings.unfinished_bytes)

    def _refuse(self, status: int, why: str, detail: str = "") -> Answer:
        extra = {"status": f"{status:04X}", "why": why, "detail": detail, "address": self._link.address}
        log.warning("operation_refused", extra=extra)
        return Answer(status, error_comment(why))

    async def _store(self, message: Message) -> Answer:
        if message.refused is not None:
            raise message.refused
        if message.spool is None:
            raise Malformed("C-STORE", "it has no data set")
        try:
            async with self._limits.stores.turn(self._caller):
                outcome = await self._ingest.instance(message.spool.content)
        finally:
            message.spool.release()
        if isinstance(outcome, SetAside):
            return Answer(WARNING_SET_ASIDE, "set aside: same SOP Instance UID, other content")
        return Answer(SUCCESS)

    def _count(self, status: int) -> None:
        if status in (SUCCESS, WARNING_SET_ASIDE):
            self._stored += 1
            self._counts.add("stored")
        else:
            self._failed += 1
            self._counts.add("refused")
