"""/api/v1/changes on a node: what it answers, and what it refuses."""

import asyncio
import http.client
import json
from contextlib import closing

import pytest
from in_process import a_node
from making import ct, data_set_bytes

from drimbox.dicom.scan import scan


async def get(node, path):
    def call():
        with closing(http.client.HTTPConnection(*node.http.address, timeout=30)) as connection:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    return await asyncio.to_thread(call)


async def keep(node, made):
    spool = node.own.open_spool(made.SOPClassUID, made.SOPInstanceUID, made.file_meta.TransferSyntaxUID, 1 << 20)
    spool.write(data_set_bytes(made))
    await node.own.keep(spool, scan)


async def test_a_program_reads_on_from_where_it_stopped(tmp_path):
    async with a_node(tmp_path) as (node, _):
        assert await get(node, "/api/v1/changes") == (200, {"items": [], "next": "", "more": False})
        for number in (1, 2, 3):
            await keep(node, ct(1, number, "1.2.3"))
        status, first = await get(node, "/api/v1/changes?since=0&limit=2")
        assert (status, first["more"], [item["sop_uid"] for item in first["items"]]) == (
            200, True, ["1.2.3.1.1", "1.2.3.1.2"],
        )  # fmt: skip
        assert {item["kind"] for item in first["items"]} == {"arrived"}
        _, second = await get(node, f"/api/v1/changes?since={first['next']}")
        assert ([item["sop_uid"] for item in second["items"]], second["more"]) == (["1.2.3.1.3"], False)
        assert await get(node, f"/api/v1/changes?since={second['next']}") == (
            200, {"items": [], "next": second["next"], "more": False},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ("since=x", 400),
        ("since=0000000000000000.0.0", 409),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=x", 400),
        ("since=" + "0" * 100, 400),
    ],
)
async def test_what_is_no_place_is_refused(tmp_path, question, status):
    async with a_node(tmp_path) as (node, _):
        found, told = await get(node, f"/api/v1/changes?{question}")
        assert (found, told["status"]) == (status, status)
