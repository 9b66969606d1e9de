"""A DMP that goes wrong three times in ten, for tests that share it, and what it shows."""

import asyncio
import contextlib
import itertools
import random
import shutil
import tempfile
from pathlib import Path

from lxml import etree

from drimbox.dmp.verdict import ERRORS
from drimbox.sandbox.certificates import make_certificates
from drimbox.sandbox.dmp import serve
from drimbox.sandbox.dmp_misbehave import Misbehaviour

WRONG = 0.3
CONFIDENTIALITY = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"

EITHER = ("fault", "refusal", "expired", "busy", "no-dmp", "partial-success", "503", "500", "html", "cut", "silence")
AFTER = ("twice", "cut-half-way", "other-message", "slow", "own-ids", "warning")
OF_A_QUERY = ("fault", "expired", "busy", "503", "500", "html", "cut", "cut-half-way", "other-patient", "other-message")
RARE = ("silence", "slow")  # each costs the whole deadline


def wrong_answer(transaction: str, chance: random.Random) -> Misbehaviour | None:
    """Three times in ten something; half of it once the work was done, a refusal included."""
    if chance.random() >= WRONG:  # a registry may give entries ids of its own, and nothing is wrong with that
        return Misbehaviour("own-ids") if transaction == "register" and chance.random() < 0.3 else None
    if transaction == "query":
        return Misbehaviour(chance.choice(OF_A_QUERY))
    if chance.random() < 0.3:
        code = chance.choice(sorted(ERRORS))
        return Misbehaviour("error", chance.random() < 0.5, code)
    how = chance.choice((*EITHER, *AFTER))
    if how in RARE and chance.random() < 0.8:
        how = "cut"
    if how in ("own-ids", "warning") and transaction == "update":
        how = "twice"
    after = how in AFTER or (how in EITHER and chance.random() < 0.5)
    return Misbehaviour(how, after, "XDSExtraMetadataNotSaved" if how == "warning" else "")


class Neighbours:
    """The DMP, in a loop that all examples share, and their numbers: no study and no patient comes twice."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="drimbox-outbox-"))
        self.certificates = make_certificates(self.folder / "certificates")
        self.numbers = itertools.count(1)
        self.port = 0
        self._running = contextlib.AsyncExitStack()
        self.start()

    def run(self, work):
        return self.loop.run_until_complete(work)

    def start(self) -> None:
        served = serve(self.folder / "dmp", self.certificates, port=self.port)
        self.dmp = self.run(self._running.enter_async_context(served))
        self.port = self.dmp.port

    def stop(self) -> None:
        self.run(self._running.aclose())

    def close(self) -> None:
        self.stop()
        self.loop.close()
        shutil.rmtree(self.folder)


def visibility(metadata):
    """The confidentiality codes of an entry."""
    entry = etree.fromstring(metadata.encode())
    found = entry.iterfind(f"{{*}}Classification[@classificationScheme='{CONFIDENTIALITY}']")
    return frozenset(node.get("nodeRepresentation") for node in found)
