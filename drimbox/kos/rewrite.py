"""A manifest as another profile has it."""

from dataclasses import replace
from datetime import datetime
from uuid import NAMESPACE_OID, uuid5

from drimbox.kos.build import Profile, build_manifest
from drimbox.kos.manifest import new_uid
from drimbox.kos.read import read_manifest


def rewrite_manifest(kos: bytes, profile: Profile, *, uid: str, series_uid: str, created: datetime) -> bytes:
    """The same references in another profile: another document, so with UIDs and a date of its own.

    What the profile it comes from does not tell is not there: DRIM-M has no series dates. Raises Malformed, TooLarge.
    """
    manifest = replace(read_manifest(kos), uid=uid, series_uid=series_uid, created=created)
    return build_manifest(manifest, profile)


def manifest_in_profile(kos: bytes, profile: Profile) -> bytes:
    """A published manifest in the profile asked for: `drim` is what was published, byte for byte.

    In another profile it is another document, and the same one each time: its UIDs are derived from those of `kos`
    (PS3.5 §B.2), its date is that of `kos`. Raises Malformed, TooLarge.
    """
    if profile == "drim":
        return kos
    published = read_manifest(kos)
    uid, series_uid = (
        new_uid("2.25", uuid5(NAMESPACE_OID, f"{of}/{profile}")) for of in (published.uid, published.series_uid)
    )
    return rewrite_manifest(kos, profile, uid=uid, series_uid=series_uid, created=published.created)
