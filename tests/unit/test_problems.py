"""Refusals of the HTTP doors."""

import json

from drimbox.problems import problem


def test_a_status_without_words_of_ours_is_a_problem_document_too():
    status, _, body = problem(418)
    assert (status, json.loads(body)) == (418, {"type": "about:blank", "title": "Refused", "status": 418})
