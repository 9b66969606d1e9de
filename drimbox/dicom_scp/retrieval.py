"""C-GET and C-MOVE: a C-STORE for each instance, one at a time, then how it went (PS3.4 §C.4.2 and §C.4.3)."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from drimbox.dicom.command import SubOperations
from drimbox.dicom.identifier import Root, build_selection, read_identifier
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.dicom_scp.messages import Message
from drimbox.dicom_scp.negotiation import GET_ROOTS, MOVE_ROOTS, Context
from drimbox.dicom_scp.operation import Answer, Operation
from drimbox.dicom_scp.query import identifier_of
from drimbox.dicom_scp.status import (
    CANCELLED,
    DIMSE_STATUS,
    PENDING,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    UNABLE,
    WARNING_FAILED,
    error_comment,
)
from drimbox.errors import Corrupt, Malformed, NotAcceptable, TooLarge, Unavailable
from drimbox.flows.convert import Convert
from drimbox.flows.forward import Forward, Send
from drimbox.flows.retrieve import Offer, Retrieve
from drimbox.model import Credentials

log = logging.getLogger(__name__)

_MOST_SELECTED: Final = 10_000  # patients, studies, series or instances that one request may name
_MOST_SUB_OPERATIONS: Final = 0xFFFF  # what the counts of a response can hold
_MOST_FAILED_TOLD: Final = 1000  # what a UI value in explicit VR can hold
_FAILED_LIST: Final = "00080058"  # Failed SOP Instance UID List


async def get(
    operation: Operation, retrieve: Retrieve, credentials: Credentials, contexts: Mapping[int, Context]
) -> Answer:
    """Send what was asked for on the same association; the last response.

    An instance goes as it is kept, in a context of its SOP class and transfer syntax whose SCP the requestor is; else
    in one of its SOP class and a syntax it can be given in; without one its sub-operation fails.
    Raises Malformed, NotAcceptable, TooLarge, and Unavailable when the association ended.
    """
    offers = await select(operation.message, GET_ROOTS, retrieve, credentials, "C-GET")

    convert = Convert(retrieve)

    async def send(offer: Offer) -> int:
        held = offer.held
        takes = {
            context.transfer_syntax: number
            for number, context in contexts.items()
            if context.is_receiver and context.abstract_syntax == held.sop_class_uid
        }
        syntax = convert.choose(offer, takes)
        if not syntax:
            return SOP_CLASS_NOT_SUPPORTED
        try:
            made = await convert.data_set(offer, syntax)
        except Unavailable:  # of the workers, not of the association
            return DIMSE_STATUS[Unavailable]
        return await operation.store(takes[syntax], held.sop_class_uid, held.sop_uid, made.chunks, made.size_bytes)

    return await send_all(operation, retrieve, offers, send)


async def move(operation: Operation, forward: Forward, credentials: Credentials) -> Answer:
    """Send what was asked for to a destination of the configuration; the last response.

    Raises NotFound for another destination, Malformed, NotAcceptable, TooLarge, Unavailable when the index or the trail
    does not answer.
    """
    command = operation.message.command
    destination = forward.find(command.move_destination)
    what = f"C-MOVE to {destination.ae_title}"
    offers = await select(operation.message, MOVE_ROOTS, forward.retrieve, credentials, what)
    if not offers:
        return Answer(SUCCESS, sub_operations=SubOperations(None, 0, 0, 0))
    try:
        async with forward.sending(destination, offers, credentials, command.message_id) as send:
            return await send_all(operation, forward.retrieve, offers, send)
    except Unavailable as refusal:
        log.warning("destination_unavailable", extra={"ae_title": destination.ae_title, "why": str(refusal)})
        failed = [offer.held.sop_uid for offer in offers]
        done = SubOperations(None, 0, len(failed), 0)
        return Answer(UNABLE, error_comment(str(refusal)), done, _failed_list(operation, failed))


async def select(
    message: Message, roots: Mapping[str, Root], retrieve: Retrieve, credentials: Credentials, what: str
) -> list[Offer]:
    """The instances that a request names. what: for the trail."""
    context = message.context
    root = roots[context.abstract_syntax]
    identifier = await asyncio.to_thread(read_identifier, identifier_of(message), context.transfer_syntax, root)
    selection = build_selection(identifier, root, _MOST_SELECTED, relational=context.is_relational)
    offers = await retrieve.select(credentials, selection, what)
    if len(offers) > _MOST_SUB_OPERATIONS:
        raise TooLarge("retrieval", f"more than {_MOST_SUB_OPERATIONS} instances")
    return offers


async def send_all(operation: Operation, retrieve: Retrieve, offers: Sequence[Offer], send: Send) -> Answer:
    """Send each, with a pending response after each; the last response. send: gives the status of the C-STORE."""
    completed = warning = 0
    failed: list[str] = []

    def answer(status: int, remaining: int | None) -> Answer:
        done = SubOperations(remaining, completed, len(failed), warning)
        if status == PENDING or not failed:
            return Answer(status, sub_operations=done)
        return Answer(status, sub_operations=done, data_set=_failed_list(operation, failed))

    for position, offer in enumerate(offers):
        if await operation.is_cancelled():
            return answer(CANCELLED, len(offers) - position)
        status = await _send_sound(retrieve, offer, send)
        if status == SUCCESS:
            completed += 1
        elif status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116):  # warnings, PS3.7 annex C.2 and C.4
            warning += 1
        else:
            failed.append(offer.held.sop_uid)
        await operation.pend(answer(PENDING, len(offers) - position - 1))
    if failed and not completed + warning:  # PS3.4 §C.4.2.3.1, §C.4.3.3.1
        return answer(UNABLE, None)
    return answer(WARNING_FAILED if failed else SUCCESS, None)


def _failed_list(operation: Operation, failed: Sequence[str]) -> bytes:
    """The Identifier of a last response that tells which sub-operations failed."""
    told = {_FAILED_LIST: {"vr": "UI", "Value": list(failed[:_MOST_FAILED_TOLD])}}
    return build_data_set(told, TRANSFER_SYNTAXES[operation.message.context.transfer_syntax])


async def _send_sound(retrieve: Retrieve, offer: Offer, send: Send) -> int:
    """Send it once all of it was read and found to be what was kept: half an object cannot be taken back."""
    try:
        await retrieve.verify(offer.held)
        return await send(offer)
    except Corrupt as refusal:
        log.error("instance_corrupt", extra={"what": refusal.what, "why": refusal.why, "detail": refusal.detail})
        return DIMSE_STATUS[Corrupt]
    except (Malformed, NotAcceptable, TooLarge) as refusal:  # it cannot be given in a syntax the other end takes
        log.warning("instance_not_converted", extra={"what": refusal.what, "why": refusal.why})
        return DIMSE_STATUS[type(refusal)]
