"""Put fragments together into messages: the command in memory, the data set straight into a spool (PS3.7 §6, §9)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from drimbox.dicom.command import (
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    RESPONSE,
    Command,
    read_command,
)
from drimbox.dicom.pdu import COMMAND, LAST
from drimbox.dicom_scp.allowance import Spool
from drimbox.dicom_scp.faults import find_fault
from drimbox.dicom_scp.framing import wrong_message, wrong_pdu
from drimbox.dicom_scp.negotiation import Context
from drimbox.errors import Malformed, TooLarge

_LONGEST_COMMAND: Final = 2**16
_NO_STATUS: Final = 0xC000  # of a response without one: not a success

_LONGEST: Final = dict.fromkeys((C_FIND_RQ, C_GET_RQ, C_MOVE_RQ), 2**18) | {N_ACTION_RQ: 2**22}
"""Data sets that are read as a whole, by request: an Identifier, where a list of a thousand UIDs takes 65 kB; and what
a commitment is about, 112 bytes an instance.
"""


@dataclass(slots=True)
class Message:
    """One request, or the response to a C-STORE of ours.

    spool: the data set of a C-STORE. identifier: that of a query, a retrieval or an action.
    refused: why the data set could not be taken, before its end was seen.
    """

    context_id: int
    context: Context
    command: Command
    spool: Spool | None = None
    identifier: bytearray | None = None
    refused: Exception | None = None

    def discard(self) -> None:
        """Forget the data set."""
        if self.spool is not None:
            self.spool.discard()
            self.spool = None


class Assembly:
    """The message that is arriving on one association, if any.

    open_spool: SOP class, SOP instance, transfer syntax -> spool. awaited: message of our C-STORE that has no response
    yet. reported: the messages of our N-EVENT-REPORTs that have none, and whom to tell its status: it may come while
    something else is under way, so it is no message of its own.
    """

    __slots__ = ("_command", "_context_id", "_contexts", "_message", "_open_spool", "awaited", "reported")

    def __init__(self, contexts: Mapping[int, Context], open_spool: Callable[[str, str, str], Spool]) -> None:
        self._contexts = contexts
        self._open_spool = open_spool
        self.awaited: int | None = None
        self.reported: dict[int, Callable[[int], None]] = {}
        self._context_id = 0
        self._command = bytearray()
        self._message: Message | None = None

    def is_empty(self) -> bool:
        """Is no message half received?"""
        return self._message is None and not self._command

    def discard(self) -> None:
        """Forget the message that is half received."""
        if self._message is not None:
            self._message.discard()
        self._message, self._command = None, bytearray()

    def add(self, context_id: int, control: int, piece: memoryview, is_whole: bool) -> Message | None:
        """Take the next piece of a fragment; the message, once whole. Raises Breach."""
        if context_id not in self._contexts:
            raise wrong_pdu(f"presentation context {context_id} was not accepted")
        is_last = bool(control & LAST) and is_whole
        if control & COMMAND:
            return self._add_command(context_id, piece, is_last)
        message = self._message
        if message is None or message.context_id != context_id:
            raise wrong_message("data set without command, or in another presentation context")
        if message.spool is not None:
            try:
                message.spool.write(piece)
            except Exception as refusal:  # judged when answered; the rest of the data set is read and thrown away
                message.discard()
                message.refused = refusal
        elif message.identifier is not None:
            message.identifier += piece
            most = _LONGEST[message.command.field]
            if len(message.identifier) > most:
                message.identifier = None
                message.refused = TooLarge("data set", f"more than {most} bytes")
        if not is_last:
            return None
        self._message = None
        return None if message.command.field == N_EVENT_REPORT_RQ | RESPONSE else message

    def _add_command(self, context_id: int, piece: memoryview, is_last: bool) -> Message | None:
        if self._message is not None or (self._command and self._context_id != context_id):
            raise wrong_message("a command inside another message")
        if len(self._command) + len(piece) > _LONGEST_COMMAND:
            raise wrong_message(f"command set of more than {_LONGEST_COMMAND} bytes")
        self._context_id = context_id
        self._command += piece
        if not is_last:
            return None
        data, self._command = bytes(self._command), bytearray()
        try:
            command = read_command(data)
        except Malformed as error:
            raise wrong_message(str(error)) from error
        if command.field == N_EVENT_REPORT_RQ | RESPONSE and command.message_id in self.reported:
            self.reported.pop(command.message_id)(_NO_STATUS if command.status is None else command.status)
        elif command.field & RESPONSE:
            if (command.field, command.message_id) != (C_STORE_RQ | RESPONSE, self.awaited):
                raise wrong_message("a response to nothing that was asked")
            self.awaited = None
        message = Message(context_id, self._contexts[context_id], command)
        if command.field == C_STORE_RQ:
            self._begin_store(message)
        elif command.field in _LONGEST:
            message.identifier = bytearray()
        if not command.has_data_set:
            return None if command.field == N_EVENT_REPORT_RQ | RESPONSE else message
        self._message = message
        return None

    def _begin_store(self, message: Message) -> None:
        """Open the spool of a C-STORE; none for one that will be refused for its command, or for having no data set."""
        command, context = message.command, message.context
        if not command.has_data_set or find_fault(command, context.abstract_syntax):
            return
        try:
            message.spool = self._open_spool(command.sop_class_uid, command.sop_uid, context.transfer_syntax)
        except Exception as refusal:  # as above
            message.refused = refusal
