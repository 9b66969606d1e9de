"""What the DMP is told of an exam, row by row of drim-m.md B.9, each worked by hand."""

from dataclasses import replace

import pytest
from making import report

from drimbox.flows.decide import Standing, Truth, decide
from drimbox.model import Identifier

INS = "279035121518989^1.2.250.1.213.1.4.10"
ONE = frozenset({("1.2.3", "https://box/series/1.2.3", "1.2.3.1")})
TWO = ONE | {("1.2.3", "https://box/series/1.2.3", "1.2.3.2")}
PLAIN = report()
QUALIFIED = replace(PLAIN, patient=replace(PLAIN.patient, qualified=True))
CORRECTED = replace(QUALIFIED, message_id="RIS|2", status="C", title="Corrigé")
OTHER_PATIENT = replace(QUALIFIED, patient=replace(QUALIFIED.patient, ins=Identifier("1" * 15, "1.2.250.1.213.1.4.10")))
MASKED = replace(QUALIFIED, confidentiality=("INVISIBLE_PATIENT",))
PUBLISHED = Standing(QUALIFIED, ONE, INS)

TABLE = {
    # nothing in the DMP
    "a report, its images here": (Truth(QUALIFIED, "here", ONE), None, "publish"),
    "a report, its images still come": (Truth(QUALIFIED, "arriving", ONE), None, "wait"),
    "a report before its images": (Truth(QUALIFIED, "none yet", frozenset()), None, "wait"),
    "a report whose images the PACS has not either": (Truth(QUALIFIED, "nowhere", frozenset()), None, "wait"),
    "an identity that is not qualified": (Truth(PLAIN, "here", ONE), None, "park"),
    "no INS": (Truth(replace(QUALIFIED, patient=replace(PLAIN.patient, ins=None)), "here", ONE), None, "park"),
    "images of another exam": (Truth(QUALIFIED, "here", ONE, "accession number: two"), None, "park"),
    "not for the DMP": (Truth(replace(QUALIFIED, to_dmp=False), "here", ONE), None, "nothing"),
    "cancelled before it was published": (Truth(None, "here", ONE), None, "nothing"),
    "every image rejected before it was published": (Truth(QUALIFIED, "none left", frozenset()), None, "nothing"),
    # something in the DMP
    "nothing new": (Truth(QUALIFIED, "here", ONE), PUBLISHED, "nothing"),
    "the same report in another message": (
        Truth(replace(QUALIFIED, message_id="RIS|9", status="C"), "here", ONE),
        PUBLISHED,
        "nothing",
    ),
    "a corrected report": (Truth(CORRECTED, "here", ONE), PUBLISHED, "replace"),
    "an image that came late": (Truth(QUALIFIED, "here", TWO), PUBLISHED, "replace"),
    "an image that was rejected": (Truth(QUALIFIED, "here", ONE), replace(PUBLISHED, references=TWO), "replace"),
    "images that still come": (Truth(QUALIFIED, "arriving", TWO), PUBLISHED, "wait"),
    "no image left": (Truth(QUALIFIED, "none left", frozenset()), PUBLISHED, "withdraw"),
    "images that are not found, and nothing says why": (Truth(QUALIFIED, "none yet", frozenset()), PUBLISHED, "park"),
    "images that not even the PACS has any more": (Truth(QUALIFIED, "nowhere", frozenset()), PUBLISHED, "park"),
    "a cancelled report": (Truth(None, "here", ONE), PUBLISHED, "withdraw"),
    "a correction that is not for the DMP": (
        Truth(replace(CORRECTED, to_dmp=False), "here", ONE),
        PUBLISHED,
        "withdraw",
    ),
    "a correction whose identity is not qualified": (Truth(PLAIN, "here", ONE), PUBLISHED, "park"),
    "a correction whose images are of another": (Truth(CORRECTED, "here", ONE, "patient: two"), PUBLISHED, "park"),
    "masked, and nothing else": (Truth(replace(MASKED, visibility_only=True), "here", ONE), PUBLISHED, "update"),
    "masked by a corrected report": (Truth(MASKED, "here", ONE), PUBLISHED, "replace"),
    "masked, and an image more": (Truth(replace(MASKED, visibility_only=True), "here", TWO), PUBLISHED, "replace"),
    "masked, and more than it says": (
        Truth(replace(MASKED, visibility_only=True, title="Autre"), "here", ONE),
        PUBLISHED,
        "replace",
    ),
    "a correction for another patient": (Truth(OTHER_PATIENT, "here", ONE), PUBLISHED, "withdraw"),
}


@pytest.mark.parametrize(("truth", "standing", "action"), TABLE.values(), ids=TABLE)
def test_what_the_dmp_is_told(truth, standing, action):
    decision = decide(truth, standing)
    assert decision.action == action
    assert bool(decision.reason) == (action == "park" or (action == "wait" and truth.images in ("none yet", "nowhere")))


def test_only_another_patient_takes_two_steps():
    assert decide(Truth(OTHER_PATIENT, "arriving", ONE), PUBLISHED).again
    assert not any(decide(truth, standing).again for truth, standing, _ in list(TABLE.values())[:-1])


def test_a_wait_says_when_the_images_may_be_under_another_uid():
    assert decide(Truth(QUALIFIED, "none yet", frozenset(), elsewhere=True), None).reason.endswith(
        "another study has its accession number: see which Study Instance UID is right"
    )
