"""/api/v1/studies/{study}/report on a node: the report of the exam, traced as its images are."""

import asyncio
import http.client
import json
from contextlib import closing
from datetime import UTC, datetime

from in_process import a_node

from drimbox.sandbox.ris import Study, build_oru, send_report

EXAM = Study("1.2.3.77", "IPP101", "ACC1", "CT")
AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


async def ask(node, study_uid, method="GET"):
    def call():
        with closing(http.client.HTTPConnection(*node.http.address, timeout=30)) as connection:
            connection.request(method, f"/api/v1/studies/{study_uid}/report")
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    return await asyncio.to_thread(call)


async def send(hl7, **options):
    said = await asyncio.to_thread(send_report, *hl7.split(":"), build_oru(EXAM, AT, **options))
    assert "MSA|AA|" in said


async def test_the_report_is_the_pdf_of_its_cda_and_the_reading_is_traced(tmp_path):
    async with a_node(tmp_path) as (node, addresses):
        await send(addresses["hl7"])
        status, headers, pdf = await ask(node, EXAM.study_uid)
        assert (status, headers["content-type"], pdf[:5]) == (200, "application/pdf", b"%PDF-")
        assert headers["content-security-policy"] == "frame-ancestors 'self'"
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert (await ask(node, EXAM.study_uid, "HEAD"))[0] == 200
        traces = [json.loads(line) for line in (tmp_path / "trail" / "trail.jsonl").read_text().splitlines()]
        assert ("retrieve", "success", EXAM.study_uid, "report") in [
            (trace["action"], trace["outcome"], trace["study_uid"], trace["detail"]) for trace in traces
        ]


async def test_a_text_comes_as_a_page_that_can_do_nothing(tmp_path):
    from drimbox.sandbox.ris_document import build_cda

    cda = build_cda((EXAM,), AT)
    start, end = cda.index(b"<component><nonXMLBody>"), cda.rindex(b"</ClinicalDocument>")
    section = "<section><title>Conclusion</title><text>Pas d’anomalie</text></section>"
    body = f"<component><structuredBody><component>{section}</component></structuredBody></component>".encode()
    async with a_node(tmp_path) as (node, addresses):
        await send(addresses["hl7"], cda=cda[:start] + body + cda[end:])
        status, headers, page = await ask(node, EXAM.study_uid)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert "Pas d’anomalie" in page.decode()
        assert "PAT-TROIS" in page.decode()


async def test_an_exam_without_a_report_in_force_has_none_to_show(tmp_path):
    async with a_node(tmp_path) as (node, addresses):
        assert (await ask(node, "1.2.3.78"))[0] == 404
        await send(addresses["hl7"])
        await send(addresses["hl7"], status="D")
        assert (await ask(node, EXAM.study_uid))[0] == 404
        assert (await ask(node, "1.2.x"))[0] == 400
