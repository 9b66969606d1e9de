"""Someone asks us to send studies to a third: only ever to a destination of the configuration."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from drimbox.errors import Corrupt, NotFound, Unavailable
from drimbox.flows.retrieve import Offer, Retrieve
from drimbox.model import Credentials
from drimbox.pacs.send import Outgoing, storing
from drimbox.settings import Destination, Dicom

Send = Callable[[Offer], Awaitable[int]]

_PROCESSING_FAILURE: Final = 0x0110


@dataclass(frozen=True)
class Forward:
    """Send instances of one archive elsewhere by C-STORE, once `Retrieve.select` admitted and traced who asks."""

    retrieve: Retrieve
    settings: Dicom

    def find(self, ae_title: str) -> Destination:
        """The configured destination of this AE title. Raises NotFound: nobody else is ever called."""
        for destination in self.settings.destinations:
            if destination.ae_title == ae_title:
                return destination
        raise NotFound("move destination", "not in dicom.destinations")

    @asynccontextmanager
    async def sending(
        self, destination: Destination, offers: Sequence[Offer], credentials: Credentials, message_id: int
    ) -> AsyncIterator[Send]:
        """What sends an instance to `destination` and gives the status of the C-STORE. Raises Unavailable.

        offers: all that will be sent, as they are kept. message_id: of the C-MOVE.
        """
        outgoing = [self._outgoing(offer) for offer in offers]
        originator = (credentials.calling, message_id)
        kinds = (one.kind for one in outgoing)
        async with storing(destination, self.settings.ae_title, kinds, originator) as store:

            async def send(offer: Offer) -> int:
                try:
                    return await store(self._outgoing(offer))
                except (Unavailable, Corrupt):  # this one did not arrive; nor will those after it
                    return _PROCESSING_FAILURE

            yield send

    def _outgoing(self, offer: Offer) -> Outgoing:
        held = offer.held
        place = self.retrieve.archive.place(held)
        return Outgoing(held.sop_class_uid, held.ref.sop_uid, held.transfer_syntax, place, held.data_set_offset)
