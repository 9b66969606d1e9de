"""The power goes at each instant of an ingest, and of the disk only what was synced is left (promises P1, P2)."""

import asyncio

from faulty import PowerLoss, Seam, through
from ledger import SENT, arrive, check


def test_what_was_acknowledged_is_there_after_a_power_cut_at_any_instant(tmp_path):
    base = tmp_path / "running"
    base.mkdir()
    lost = PowerLoss(base)
    ledger: list[str] = []
    told: list[int] = []  # how much of the ledger was said before the cut

    def before(number, name):
        lost.write_to(tmp_path / "cuts" / str(number))
        told.append(len(ledger))

    with through(Seam(before, lost.after)):
        asyncio.run(arrive(base, ledger.append))
    assert len(ledger) == len(SENT) + 3
    assert len(told) > 200
    for number, count in enumerate(told):
        check(tmp_path / "cuts" / str(number), ledger[:count])
