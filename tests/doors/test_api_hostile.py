"""Whatever its OpenAPI allows, and some of what it does not: the API answers, and never with a bug."""

import asyncio
import threading

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from drimbox.app import build
from drimbox.settings import Settings

schemathesis = pytest.importorskip("schemathesis")

schemathesis.serializer.alias(["application/dicom", "application/zip"], "application/octet-stream")

DOORS = ("dicom", "http", "hl7")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The URL of a node, on a loop of its own thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    folder = tmp_path_factory.mktemp("node")
    node = build(Settings(node={"data_dir": folder}, **{door: {"port": 0} for door in DOORS}))
    try:
        run(node.start())
        host, port = node.http.address
        yield f"http://{host}:{port}"
    finally:
        run(node.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_no_request_the_schema_allows_is_a_bug(root):
    schema = schemathesis.openapi.from_url(f"{root}/api/openapi.json")
    seen = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=15,
            deadline=None,
            phases=[Phase.generate],
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case):
            answer = case.call(base_url=root)
            assert answer.status_code < 500 or answer.status_code == 503, (case.method, case.path)

        ask()
        seen += 1
    assert seen >= 8
