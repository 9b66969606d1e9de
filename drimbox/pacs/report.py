"""N-EVENT-REPORT of storage commitment on an association of our own: the roles are reversed (PS3.4 §J.3.3)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from drimbox.dicom.command import N_EVENT_REPORT_RQ, Command
from drimbox.dicom.commitment import PUSH_MODEL, PUSH_MODEL_INSTANCE, Report, build_report
from drimbox.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from drimbox.dicom.writing import build_data_set
from drimbox.errors import NotAcceptable
from drimbox.pacs.association import associated
from drimbox.settings import Destination

_ANSWER_S: Final = 60.0


@asynccontextmanager
async def open_reporting(place: Destination, calling: str) -> AsyncIterator[Callable[[Report], Awaitable[int]]]:
    """What tells `place` a report and gives the status of its answer. Raises NotAcceptable, Unavailable.

    We propose the SCP role. One that accepts the context and says nothing of roles is told all the same: there is
    nothing else this context could be for.
    """
    proposed = [(PUSH_MODEL, (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN))]
    async with associated(place, calling, proposed, scp_of=[PUSH_MODEL]) as association:
        accepted = [(syntax, number) for (abstract, syntax), number in association.contexts.items()]
        if not accepted:
            raise NotAcceptable(association.name, "it takes no Storage Commitment")
        syntax, context_id = accepted[0]
        message_id = 0

        async def send(report: Report) -> int:
            nonlocal message_id
            message_id = message_id % 0xFFFF + 1
            command = Command(
                N_EVENT_REPORT_RQ, message_id, PUSH_MODEL, PUSH_MODEL_INSTANCE,
                has_data_set=True, type_id=report.event_type,
            )  # fmt: skip
            data = build_data_set(build_report(report, calling), TRANSFER_SYNTAXES[syntax])
            return await association.call(lambda: association.exchange(context_id, command, [data]), _ANSWER_S)

        yield send
