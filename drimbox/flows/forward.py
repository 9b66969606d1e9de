"""Someone asks us to send studies to a third: only ever to a destination of the configuration."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from drimbox.errors import Corrupt, NotFound, Unavailable
from drimbox.flows.convert import Convert, drawn
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

        offers: all that will be sent: as they are kept, or else in another syntax that the destination takes; the
        default one of DICOM is proposed for whatever can be given in it (PS3.5 §10.1). message_id: of the C-MOVE.
        """
        convert, loop = Convert(self.retrieve), asyncio.get_running_loop()
        as_kept = [(offer.held.sop_class_uid, offer.held.transfer_syntax) for offer in offers]
        others = [(offer.held.sop_class_uid, syntax) for offer in offers for syntax in convert.possible(offer)[:0:-1]]
        originator = (credentials.calling, message_id)
        async with storing(destination, self.settings.ae_title, (*as_kept, *others), originator) as store:

            async def send(offer: Offer) -> int:
                held = offer.held
                taken = {syntax for sop_class_uid, syntax in store.accepted if sop_class_uid == held.sop_class_uid}
                syntax = convert.choose(offer, taken) or held.transfer_syntax
                place = self.retrieve.archive.place(held)
                outgoing = Outgoing(held.sop_class_uid, held.sop_uid, syntax, place, held.data_set_offset)
                try:
                    if syntax != held.transfer_syntax:
                        converted = await convert.data_set(offer, syntax)
                        outgoing = replace(outgoing, content=partial(drawn, converted, loop))
                    return await store(outgoing)
                except (Unavailable, Corrupt):  # this one did not arrive; nor will those after it
                    return _PROCESSING_FAILURE

            yield send
