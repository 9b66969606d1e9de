"""A manifest as another profile has it."""

from dataclasses import replace
from datetime import datetime

from drimbox.kos.build import Profile, build_manifest
from drimbox.kos.read import read_manifest


def rewrite_manifest(kos: bytes, profile: Profile, *, uid: str, series_uid: str, created: datetime) -> bytes:
    """The same references in another profile: another document, so with UIDs and a date of its own.

    What the profile it comes from does not tell is not there: DRIM-M has no series dates. Raises Malformed, TooLarge.
    """
    manifest = replace(read_manifest(kos), uid=uid, series_uid=series_uid, created=created)
    return build_manifest(manifest, profile)
