"""Users of the DIMSE door: a file of names with what a passcode is checked against, never the passcode (PS3.7 D.3.3.7).

One user a line, `NAME:$scrypt$ln=15,r=8,p=3$SALT$HASH` (RFC 7914, base64 without padding), or `NAME:` alone for one who
has no passcode; `drimbox user` writes it.
"""

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from drimbox.durable import write_file
from drimbox.errors import Malformed, NotFound

_NAME: Final = re.compile(r"[^\s:#\\][^:\\]{0,63}")
_LINE: Final = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)", re.ASCII
)
_COST: Final = (15, 8, 3)  # log2 N, r, p: 32 MiB, 0.2 s a try
_MOST_BYTES: Final = 2**27  # of memory, and
_MOST_WORK: Final = 2**24  # N r p, whatever a line asks for
_MOST_FILE_BYTES: Final = 2**22
_SALT_BYTES, _HASH_BYTES = 16, 32


@dataclass(frozen=True, slots=True)
class Passcode:
    """What a passcode is checked against. Takes as long as it must: never on an event loop."""

    cost: tuple[int, int, int]
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    def is_of(self, passcode: bytes) -> bool:
        """Is this the passcode?"""
        return hmac.compare_digest(_scrypt(passcode, self.salt, self.cost, len(self.hash)), self.hash)


Users = Mapping[str, Passcode | None]
"""By name; None: a user without passcode."""


def new_passcode(passcode: bytes) -> Passcode:
    """What to keep of a passcode."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return Passcode(_COST, salt, _scrypt(passcode, salt, _COST, _HASH_BYTES))


NOBODY: Final = Passcode(_COST, bytes(_SALT_BYTES), bytes(_HASH_BYTES))
"""Checked for a name that is unknown: how long a refusal takes tells nobody who exists."""


def checked_name(name: str) -> str:
    """`name` if it can be a user's. Raises Malformed."""
    if not _NAME.fullmatch(name) or not name.isprintable() or name != name.strip():
        raise Malformed("user", "a name has 1 to 64 printable characters, no colon and no backslash")
    return name


def read_users(path: Path) -> Users:
    """Raises Malformed with the number of the line, NotFound when there is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_FILE_BYTES + 1)
        if len(data) > _MOST_FILE_BYTES:
            raise Malformed("dicom.users", f"{path}: more than {_MOST_FILE_BYTES} bytes")
        lines = data.decode("utf-8").splitlines()
    except FileNotFoundError as error:
        raise NotFound("dicom.users", f"{path} is not there: drimbox user add makes it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed("dicom.users", f"{path}: {error.__class__.__name__}, cannot be read as UTF-8 text") from error
    users: dict[str, Passcode | None] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, kept = line.partition(":")
        try:
            if not colon or checked_name(name) in users:
                raise Malformed("user", "no colon, or a name that is there twice")
            users[name] = _read_passcode(kept.strip())
        except Malformed as error:
            raise Malformed("dicom.users", f"{path}, line {number}: {error.why}") from error
    return users


def write_users(path: Path, users: Users) -> None:
    """Write the file whole or not at all, for its owner alone. Raises OSError."""
    lines = [f"{name}:{_line(passcode) if passcode else ''}\n" for name, passcode in sorted(users.items())]
    before = os.umask(0o077)
    try:
        write_file(path, "".join(("# Written by drimbox user\n", *lines)).encode("utf-8"))
    finally:
        os.umask(before)


def _read_passcode(text: str) -> Passcode | None:
    if not text:
        return None
    found = _LINE.fullmatch(text)
    if not found:
        raise Malformed("user", "$scrypt$ln=,r=,p=$salt$hash is wanted after the name, or nothing")
    log_n, r, p = (int(found[group]) for group in (1, 2, 3))
    if not (log_n >= 1 and r >= 1 and p >= 1 and (r * p) << log_n <= _MOST_WORK and 128 * r << log_n <= _MOST_BYTES):
        raise Malformed("user", "scrypt parameters beyond N r p 2^24, or beyond 128 MiB")
    salt, kept = (_from_base64(found[group]) for group in (4, 5))
    if not 16 <= len(kept) <= 64:
        raise Malformed("user", "the hash has not 16 to 64 bytes")
    return Passcode((log_n, r, p), salt, kept)


def _line(passcode: Passcode) -> str:
    log_n, r, p = passcode.cost
    salt, kept = (base64.b64encode(value).decode().rstrip("=") for value in (passcode.salt, passcode.hash))
    return f"$scrypt$ln={log_n},r={r},p={p}${salt}${kept}"


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise Malformed("user", "salt or hash is not base64") from error


def _scrypt(passcode: bytes, salt: bytes, cost: tuple[int, int, int], length: int) -> bytes:
    log_n, r, p = cost
    return hashlib.scrypt(passcode, salt=salt, n=1 << log_n, r=r, p=p, maxmem=2 * _MOST_BYTES, dklen=length)
