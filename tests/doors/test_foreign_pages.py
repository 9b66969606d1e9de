"""A node that believes this machine, asked by a page of somebody else in a browser on it."""

import asyncio
import http.client
import json
from contextlib import closing

import pytest
from in_process import a_node


async def ask(node, method, path, **headers):
    def call():
        with closing(http.client.HTTPConnection(*node.http.address, timeout=30)) as connection:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    return await asyncio.to_thread(call)


@pytest.mark.parametrize("path", ["/", "/dicom-web/studies", "/api/v1/outbox", "/visits/x/dicom-web/studies"])
async def test_a_name_that_was_made_to_mean_this_machine_reads_nothing(tmp_path, path):
    async with a_node(tmp_path) as (node, _):
        status, body = await ask(node, "GET", path, Host="attacker.example:8080")
        assert status == 403
        assert "http.public_url" in json.loads(body)["detail"]


async def test_a_page_of_another_origin_changes_nothing(tmp_path):
    async with a_node(tmp_path) as (node, _):
        for origin in ("https://attacker.example", "null", f"http://127.0.0.1:{node.http.address[1] + 1}"):
            status, _ = await ask(node, "POST", "/api/v1/outbox/1/retry", Origin=origin)
            assert status == 403
        host = "{}:{}".format(*node.http.address)
        assert (await ask(node, "POST", "/api/v1/outbox/1/retry", Origin=f"http://{host}"))[0] == 404
        assert (await ask(node, "POST", "/api/v1/outbox/1/retry"))[0] == 404
