"""Manifests that come as a file instead of from the DMP: a KOS, or an XDM medium (drim-m.md B.10)."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from drimbox.errors import TooLarge
from drimbox.flows.admit import Admit
from drimbox.flows.consult import new_file_id
from drimbox.flows.xdm_import import read_set
from drimbox.kos.manifest import Manifest
from drimbox.kos.read import read_manifest
from drimbox.model import Credentials
from drimbox.storage.visits import Visits
from drimbox.xds.xdm_zip import ZipMedium, find_sets

MAX_FILE: Final = 32 * 2**20
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 128 * 2**20  # of a medium, uncompressed
_MOST_MANIFESTS: Final = 200
_AT_ONCE: Final = 2  # so many files are in memory


@dataclass(frozen=True)
class Given:
    """What our reader was handed becomes documents to open, like those the DMP lists."""

    visits: Visits
    admit: Admit
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    async def __call__(self, credentials: Credentials, chunks: AsyncIterator[bytes]) -> list[dict[str, Any]]:
        """The manifests of a file, each with a document_id that `Consult.open` takes. Nothing else of it is kept.

        Hash and size of each are checked in a medium, as at an import. Raises Denied, Unidentified, Malformed,
        TooLarge, NotFound, Conflict.
        """
        await self.admit(credentials, "consult", detail="manifests read from a file")
        async with self._room:
            data = bytearray()
            async for chunk in chunks:
                data += chunk
                if len(data) > MAX_FILE:
                    raise TooLarge("file", f"over {MAX_FILE >> 20} MiB: an operator imports it with drimbox xdm import")
            found = _read(bytes(data))
            del data
            listed = []
            while one := await asyncio.to_thread(next, found, None):
                kos, manifest = one
                document_id = new_file_id()
                await self.visits.list_document(document_id, kos)
                listed.append({"document_id": document_id, **_shown(manifest)})
                if len(listed) == _MOST_MANIFESTS:
                    break
            return listed


def _read(data: bytes) -> Iterator[tuple[bytes, Manifest]]:
    if not data.startswith(b"PK"):
        yield data, read_manifest(data)
        return
    medium = ZipMedium(io.BytesIO(data), _MOST_FILES, _MOST_BYTES)
    for name in find_sets(medium):
        for found in read_set(medium, name):
            yield found.kos, found.manifest


def _shown(manifest: Manifest) -> dict[str, Any]:
    return {
        "title": manifest.act or manifest.study_description,
        "created": manifest.study_date,
        "study_uid": manifest.study_uid,
        "modalities": list(dict.fromkeys(series.modality for series in manifest.series if series.modality)),
        "regions": [region.meaning or region.value for region in manifest.regions],
        "description": manifest.study_description,
        "author": manifest.institution,
        "patient": f"{manifest.patient.family} {manifest.patient.given}".strip(),
        "birth_date": manifest.patient.birth_date,
    }
