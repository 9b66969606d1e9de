"""`drimbox check`: is this node able to do its work? One line a matter, with what to do."""

import asyncio
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from drimbox import clock
from drimbox.auth.users import read_users
from drimbox.egress import Egress, Identity
from drimbox.errors import DrimboxError
from drimbox.pacs.client import pacs_scu
from drimbox.settings import Settings

_TIMEOUT_S: Final = 5.0
_SOON: Final = timedelta(days=30)
_ROOM_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Result:
    """One matter. said: what was found, and what to do when it is not well."""

    name: str
    ok: bool
    said: str


async def run_checks(settings: Settings) -> list[Result]:
    """Every check, in the order of the installation guide. Nothing is written."""
    results = [Result("configuration", True, "read"), _disk(settings.node.data_dir), _clock()]
    results += [_certificate(*told) for told in _certificates(settings)]
    results += [_users(settings.dicom.users)] if settings.dicom.users else []
    results += await asyncio.gather(*(_neighbour(*neighbour) for neighbour in _neighbours(settings)), _pacs(settings))
    return results


def _disk(folder: Path) -> Result:
    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Result("disk", free >= _ROOM_BYTES, f"{free >> 20} MiB free at {folder}")


def _clock() -> Result:
    now = clock.now()
    return Result("clock", now.year >= 2026, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def _users(path: Path) -> Result:
    try:
        users = read_users(path)
    except DrimboxError as refusal:
        return Result("dicom.users", False, str(refusal))
    exposed = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    said = f"{path} is open to others: chmod 600" if exposed else f"{len(users)} users"
    return Result("dicom.users", not exposed, said)


def _certificates(settings: Settings) -> Iterator[tuple[str, Path, str]]:
    """Name, place, and the care structure it must be of, if it must."""
    for key in ("tls_certificate", "tls_ca"):
        if path := getattr(settings.dicom, key):
            yield f"dicom.{key}", path, ""
    for name, called in (("pacs", settings.pacs), *((place.ae_title, place) for place in settings.dicom.destinations)):
        for key in ("tls_certificate", "tls_ca"):
            if path := getattr(called, key):
                yield f"{name} {key}", path, ""
    for structure in settings.dmp.structures:
        yield f"TLS certificate {structure.id}", structure.tls_certificate, structure.id
        yield f"signing certificate {structure.id}", structure.sign_certificate, structure.id


def _certificate(name: str, path: Path, structure: str) -> Result:
    try:
        read = x509.load_pem_x509_certificates(path.read_bytes())
        ends = min(it.not_valid_after_utc for it in read)
    except (OSError, ValueError) as error:
        return Result(name, False, f"{path}: {type(error).__name__}: give the path of a PEM certificate")
    # IGC-Santé writes the number of the structure into OU, and there the DMP looks whether the VIHF is believed.
    units = [str(unit.value) for unit in read[0].subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if structure and structure not in units:
        return Result(
            name, False, f"issued to {', '.join(units) or 'nobody'}: see id, mode and sites of dmp.structures"
        )
    left = ends - clock.now()
    return Result(name, left > _SOON, f"ends {ends:%Y-%m-%d}" + ("" if left > _SOON else ": renew it"))


def _neighbours(settings: Settings) -> Iterator[tuple[str, str, Identity | None, Path | None]]:
    dmp = settings.dmp
    urls = (("DMP repository", dmp.repository_url), ("DMP registry", dmp.registry_url))
    for structure in dmp.structures:
        identity = Identity(structure.tls_certificate, structure.tls_key, dmp.ca)
        of = f" as {structure.id}" if len(dmp.structures) > 1 else ""
        yield from ((f"{name}{of}", url, identity, None) for name, url in urls)
    if not dmp.structures:
        yield from ((name, url, None, None) for name, url in urls)
    yield "Pro Santé Connect", settings.psc.issuer_url, None, settings.psc.ca
    for peer in settings.peers.known:
        yield f"peer {peer.name}", peer.url, None, settings.peers.ca


async def _neighbour(name: str, url: str, identity: Identity | None, ca: Path | None) -> Result:
    """Does it answer, with the certificates it should have and ours? Any HTTP status is an answer."""
    if not url:
        return Result(name, True, "not configured")
    egress = Egress([url])
    try:
        answer = await egress.get(url, headers={}, identity=identity, ca=ca, timeout_s=_TIMEOUT_S, max_bytes=1 << 20)
    except DrimboxError as error:
        return Result(name, False, str(error))
    finally:
        await egress.close()
    return Result(name, True, f"answers (HTTP {answer.status})")


async def _pacs(settings: Settings) -> Result:
    """Does it answer C-ECHO, to our AE title?"""
    if not settings.pacs.host:
        return Result("PACS", True, "not configured")
    try:
        await pacs_scu(settings.pacs, settings.dicom.ae_title).echo()
    except DrimboxError as error:
        return Result("PACS", False, str(error))
    return Result("PACS", True, "answers C-ECHO")
