"""User identity: who a requestor says its user is, and whether that is believed (PS3.7 annex D.3.3.7).

A passcode is checked by scrypt, which is slow on purpose: on a thread, a few at a time, address by address. What was
right is remembered for some minutes under a key of this process, so that an association an object costs one check.
"""

import asyncio
import hmac
import logging
import secrets
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from drimbox import clock
from drimbox.auth.policy import USER_IDENTITY
from drimbox.auth.users import NOBODY, Passcode, Users, read_users
from drimbox.dicom.user_information import IdentityKind, UserIdentity
from drimbox.dicom_scp.turns import Turns
from drimbox.errors import DrimboxError, Unavailable, Unidentified
from drimbox.settings import Dicom

log = logging.getLogger(__name__)

_CHECKS_AT_ONCE: Final = 2  # of 32 MiB and 0.2 s each
_MOST_WAITING: Final = 16  # checks of one address: further requests are told to come again
_REMEMBERED_S: Final = 600.0
_MOST_REMEMBERED: Final = 1024
_NAMED: Final = frozenset({IdentityKind.NAME, IdentityKind.NAME_AND_PASSCODE})


def name_of(identity: UserIdentity | None, settings: Dicom) -> str:
    """The name to be proven; nothing where none is told, or none is asked for. Never a token."""
    if identity is None or settings.users is None or identity.kind not in _NAMED:
        return ""
    return identity.primary.decode("utf-8", "replace")


@dataclass(slots=True)
class _File:
    """The users of a file. mark: what tells that it changed."""

    path: Path
    mark: tuple[int, ...] | None = None
    users: Users = field(default_factory=dict)

    def read(self) -> Users:
        """As they are now. While the file cannot be read, they are those of before."""
        try:
            told = self.path.stat()
            mark: tuple[int, ...] = (told.st_mtime_ns, told.st_size, told.st_ino)
        except OSError:
            mark = ()
        if mark != self.mark:
            self.mark = mark
            try:
                self.users = read_users(self.path)
            except DrimboxError as error:
                log.error("users_unreadable", extra={"reason": str(error)})
        return self.users


class Identities:
    """The checks of one process, on any number of loops."""

    def __init__(self) -> None:
        self._turns = Turns(_CHECKS_AT_ONCE, 1)
        self._waiting: Counter[str] = Counter()
        self._file: _File | None = None
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()  # until when, in ticks
        self._lock = threading.Lock()

    async def prove(self, identity: UserIdentity | None, address: str, settings: Dicom) -> bool:
        """Was the identity accepted (True), or only passed over? Raises Unidentified.

        Raises Unavailable when its address has so many checks waiting that it must come again.
        """
        if identity is None or settings.users is None:
            return False
        if identity.kind not in _NAMED:
            if settings.users_of_other_kinds == "ignored":
                return False
            raise Unidentified(USER_IDENTITY, f"of type {identity.kind}, which is not accepted")
        kept = await asyncio.to_thread(self._find, identity.primary, settings.users)
        if identity.kind == IdentityKind.NAME:
            if settings.users_without_passcode and kept is None:
                return True
            raise Unidentified(USER_IDENTITY, "a name alone, of nobody who needs no passcode")
        if not await self._is_right(identity.secondary, kept or NOBODY, address):
            raise Unidentified(USER_IDENTITY, "no such user, or another passcode")
        return True

    def _find(self, name: bytes, path: Path) -> Passcode | None:
        """What the passcode of this user is checked against; NOBODY for no user, None for one without."""
        with self._lock:
            if self._file is None or self._file.path != path:
                self._file = _File(path)
            users = self._file.read()
        try:
            return users.get(name.decode("utf-8"), NOBODY)
        except UnicodeDecodeError:
            return NOBODY

    async def _is_right(self, passcode: bytes, kept: Passcode, address: str) -> bool:
        known = hmac.digest(self._key, kept.salt + kept.hash + passcode, "sha256")
        if self._is_remembered(known):
            return True
        with self._lock:
            if self._waiting[address] >= _MOST_WAITING:
                raise Unavailable(USER_IDENTITY, f"more than {_MOST_WAITING} checks of one address at once")
            self._waiting[address] += 1
        try:
            async with self._turns.turn(address):
                is_right = self._is_remembered(known) or await asyncio.to_thread(kept.is_of, passcode)
        finally:
            with self._lock:
                self._waiting[address] -= 1
                if not self._waiting[address]:
                    del self._waiting[address]
        if is_right and kept is not NOBODY:
            with self._lock:
                self._right[known] = clock.ticks() + _REMEMBERED_S
                while len(self._right) > _MOST_REMEMBERED:
                    self._right.popitem(last=False)
        return is_right and kept is not NOBODY

    def _is_remembered(self, known: bytes) -> bool:
        with self._lock:
            return self._right.get(known, 0.0) > clock.ticks()
