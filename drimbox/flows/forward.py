"""Someone asks us to send studies to a third: only ever to a destination of the configuration."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drimbox.errors import NotFound
from drimbox.flows.retrieve import Offer, Retrieve
from drimbox.model import Credentials
from drimbox.pacs.forward import open_forwarding
from drimbox.settings import Destination, Dicom

Send = Callable[[Offer], Awaitable[int]]


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
        kinds = ((offer.held.sop_class_uid, offer.held.transfer_syntax) for offer in offers)
        ours = self.settings.ae_title
        async with open_forwarding(destination, ours, kinds, credentials.calling, message_id) as forwarding:

            async def send(offer: Offer) -> int:
                return await forwarding.send(self.retrieve.archive.path(offer.held))

            yield send
