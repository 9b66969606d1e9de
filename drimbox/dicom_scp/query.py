"""C-FIND: what matches, one pending response each (PS3.4 §C.4.1)."""

import asyncio
from typing import Final

from drimbox.dicom.identifier import build_answer, build_search, group_patients, read_identifier
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.dicom_scp.messages import Message
from drimbox.dicom_scp.negotiation import FIND_ROOTS
from drimbox.dicom_scp.operation import Answer, Operation
from drimbox.dicom_scp.status import CANCELLED, PENDING, PENDING_PARTIAL, SUCCESS
from drimbox.errors import Malformed, TooLarge
from drimbox.flows.retrieve import Retrieve
from drimbox.model import Credentials

MOST_ANSWERS: Final = 10_000
"""To one C-FIND, and the studies the patients of one are looked for in; C-FIND has no pages to turn."""


async def find(operation: Operation, retrieve: Retrieve, credentials: Credentials, ae_title: str) -> Answer:
    """Give what matches as pending responses; the last response. ae_title: ours, from which it can be retrieved.

    Raises Malformed, NotAcceptable, and TooLarge once MOST_ANSWERS were given and there are more.
    """
    message = operation.message
    root = FIND_ROOTS[message.context.abstract_syntax]
    transfer_syntax = message.context.transfer_syntax
    identifier = await asyncio.to_thread(read_identifier, identifier_of(message), transfer_syntax, root)
    context = message.context
    search = build_search(identifier, MOST_ANSWERS, fuzzy=context.is_fuzzy, combined=context.is_combined)
    found, is_more = await retrieve.search(credentials, search.query)
    if identifier.level == "PATIENT":
        found = await asyncio.to_thread(group_patients, found)
    status = PENDING_PARTIAL if search.is_partial else PENDING
    for item in found:
        if await operation.is_cancelled():
            return Answer(CANCELLED)
        data_set = build_answer(identifier, item, ae_title, TRANSFER_SYNTAXES[transfer_syntax])
        await operation.pend(Answer(status, data_set=data_set))
    if is_more:
        raise TooLarge("query", f"more than {MOST_ANSWERS} match")
    return Answer(CANCELLED if await operation.is_cancelled() else SUCCESS)


def identifier_of(message: Message) -> bytes:
    """The data set of a query or retrieval. Raises Malformed, TooLarge."""
    if message.refused is not None:
        raise message.refused
    if message.identifier is None or not message.command.has_data_set:
        raise Malformed("Identifier", "the message has no data set")
    return bytes(message.identifier)
