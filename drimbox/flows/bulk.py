"""Someone asks for all the values that metadata leave out: of a study, a series or an instance (PS3.18 §10.4.1.1.5)."""

from collections.abc import Iterator
from dataclasses import dataclass

from drimbox.dicom.elements import PIXELS
from drimbox.dicom.json_model import bulkdata_paths, read_metadata
from drimbox.dicom.uid import TRANSFER_SYNTAXES
from drimbox.flows.retrieve import Bulkdata, Offer, Retrieve
from drimbox.model import Credentials
from drimbox.storage.index import Held

_PIXELS = frozenset(f"{tag:08X}" for tag in PIXELS)


@dataclass(frozen=True)
class Bulk:
    """List what `retrieve` may give. pixels_only: nothing but pixel data."""

    retrieve: Retrieve

    async def offers(self, credentials: Credentials, study: str, series: str = "", sop: str = "") -> list[Offer]:
        """The instances, each with the syntaxes its frames can be given in. Raises NotFound."""
        found = await self.retrieve.instances(credentials, study, series, sop)
        return [Offer(offer.held, self.retrieve.possible_frames(offer.held.transfer_syntax)) for offer in found]

    def values(self, held: Held, *, pixels_only: bool) -> list[tuple[str, Bulkdata]]:
        """The values of an instance by their path, but for pixel data in fragments. Reads the file: in a thread."""
        return [(path, self.retrieve.bulkdata_at(held, path)) for path in self._paths(held, pixels_only)]

    def _paths(self, held: Held, pixels_only: bool) -> Iterator[str]:
        known = TRANSFER_SYNTAXES.get(held.transfer_syntax)
        in_fragments = known is not None and known.encapsulated
        with self.retrieve.archive.open(held) as file:
            metadata = read_metadata(file, "")
        for path in bulkdata_paths(metadata):
            if not in_fragments if path in _PIXELS else not pixels_only:
                yield path
