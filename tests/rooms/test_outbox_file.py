"""The outbox does not go with the index; and when its own file is lost or damaged, that is said."""

import os

import pytest
from making import report

from drimbox.errors import Corrupt
from drimbox.model import Identifier
from drimbox.storage.archive import Archive
from drimbox.storage.outbox import Outbox
from drimbox.storage.outbox_file import open_outbox, rescue_outbox
from drimbox.storage.rebuild import rebuild_index
from drimbox.storage.reports import Reports


@pytest.fixture
def root(tmp_path):
    return tmp_path / "own"


async def filled(root, reports=1):
    database = open_outbox(root)
    Archive(root).close()
    for number in range(reports):
        document = Identifier("", f"1.2.{number}")
        await Reports(Outbox(database)).arrived(report(f"RIS|{number}", (f"1.9.{number}",), document_id=document), b"d")
    database.close()


async def held(root):
    database = open_outbox(root)
    try:
        rows = await database.read("SELECT message_id FROM report JOIN job ON report_id = report.id ORDER BY report.id")
        return [row[0] for row in rows]
    finally:
        database.close()


def remove(path):
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", ["removed", "cut", "scribbled"])
async def test_a_lost_index_takes_nothing_of_the_outbox_with_it(root, damage):
    await filled(root, 3)
    index = root / "index.db"
    if damage == "removed":
        remove(index)
    elif damage == "cut":
        os.truncate(index, 4096)
    else:
        index.write_bytes(b"\xa5" * 8192)
    assert rescue_outbox(root) is None
    rebuild_index(root, lambda done, total: None)
    assert await held(root) == ["RIS|0", "RIS|1", "RIS|2"]


@pytest.mark.parametrize("damage", ["removed", "empty", "scribbled"])
async def test_a_lost_outbox_is_refused_until_it_is_made_again(root, damage):
    await filled(root)
    outbox = root / "outbox.db"
    if damage == "removed":
        remove(outbox)
    else:
        outbox.write_bytes(b"" if damage == "empty" else b"\xa5" * 8192)
    for _ in range(2):
        with pytest.raises(Corrupt, match="rebuild-index"):
            open_outbox(root)
    assert any("what the DMP is owed" in lost for lost in rescue_outbox(root))
    assert await held(root) == []
    assert rescue_outbox(root) is None


async def test_rows_before_and_after_a_damaged_page_are_kept(root):
    await filled(root, 300)
    outbox = root / "outbox.db"
    data = bytearray(outbox.read_bytes())
    place = data.index(b"RIS|150") // 4096 * 4096
    while data[place] != 13:  # a leaf of the table, not of the index on message_id
        place = data.index(b"RIS|150", place + 4096) // 4096 * 4096
    data[place : place + 4096] = b"\xa5" * 4096
    outbox.write_bytes(data)
    lost = rescue_outbox(root)
    assert any("table report" in line for line in lost)
    kept = await held(root)
    assert 280 < len(kept) < 300
    assert {"RIS|0", "RIS|299"} <= set(kept)
    assert len(list(root.glob("outbox-*.db"))) == 1
