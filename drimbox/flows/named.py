"""Another DRIMbox names the manifest it read: it gets what that one lists, while it is in force (drim-m.md D.4)."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from drimbox.errors import NotFound
from drimbox.kos.read import read_manifest
from drimbox.storage.manifests import Manifests

_REMEMBERED: Final = 16  # manifests: a large one lists 20,000 instances


@dataclass(frozen=True)
class Named:
    """What the header KOS-SOPInstanceUID opens. replaced_s: how long a manifest does after another took its place."""

    manifests: Manifests
    replaced_s: float
    _listed: OrderedDict[str, frozenset[str]] = field(default_factory=OrderedDict, repr=False)

    async def instances(self, study_uid: str, manifest_uid: str) -> frozenset[str]:
        """SOP Instance UIDs the manifest lists, and the newest one of the study too. Raises NotFound.

        What left the manifest since is not served under the older one.
        """
        in_force = await self.manifests.in_force(study_uid, self.replaced_s)
        if manifest_uid not in in_force:
            raise NotFound("manifest", "KOS-SOPInstanceUID names none that is in force for this study: search again")
        listed = await self._instances_of(manifest_uid)
        return listed if manifest_uid == in_force[0] else listed & await self._instances_of(in_force[0])

    async def _instances_of(self, manifest_uid: str) -> frozenset[str]:
        """Published bytes do not change: read once."""
        known = self._listed.get(manifest_uid)
        if known is None:
            kos = await self.manifests.manifest(manifest_uid)
            known = await asyncio.to_thread(_listed, kos)
            if len(self._listed) >= _REMEMBERED:
                self._listed.popitem(last=False)
        self._listed[manifest_uid] = known
        self._listed.move_to_end(manifest_uid)
        return known


def _listed(kos: bytes) -> frozenset[str]:
    return frozenset(instance.sop_uid for series in read_manifest(kos).series for instance in series.instances)
