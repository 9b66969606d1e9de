"""Paths of a visit, before the DICOMweb door has them."""

import asyncio
import json

import pytest
from network import get

from drimbox.app import build
from drimbox.flows.consult import Consult
from drimbox.settings import Settings


@pytest.fixture
async def url(tmp_path):
    node = build(Settings(node={"data_dir": tmp_path}, dicom={"port": 0}, http={"port": 0}, hl7={"port": 0}))
    try:
        yield (await node.start())["http"]
    finally:
        await node.stop()


async def test_a_bug_while_a_visit_is_looked_up_is_told_by_its_incident_only(url, monkeypatch, caplog):
    async def broken(*args, **options):
        raise ValueError("CANARI")

    monkeypatch.setattr(Consult, "visit", broken)
    status, body = await asyncio.to_thread(get, f"{url}visits/x/dicom-web/studies")
    problem = json.loads(body)
    assert (status, problem["status"], problem["title"]) == (500, 500, "The node failed")
    assert "CANARI" not in body.decode()
    assert problem["incident"] in [getattr(record, "incident", "") for record in caplog.records]
