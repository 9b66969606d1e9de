"""The targets of scripts/fuzz on their seeds, and on seeds that Hypothesis damages: always, with or without atheris."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1]))
from fuzz.targets import TARGETS, seeds


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_are_answered_or_refused(target: str) -> None:
    found = [*seeds(target)]
    assert found
    for seed in found:
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_seeds_are_answered_or_refused(target: str, data: st.DataObject) -> None:
    written = bytearray(data.draw(st.sampled_from([*seeds(target)])))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    for _ in range(data.draw(st.integers(1, 8))):
        if not written:
            break
        at = chance.randrange(len(written))
        match chance.randrange(4):
            case 0:
                written[at] = chance.randrange(256)
            case 1:
                written[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\xfe\xff\xff\xff", b"\0\0\0\x80"])
            case 2:
                del written[at : at + chance.randrange(1, 64)]
            case _:
                other = chance.randrange(len(written))
                written[at:at] = written[other : other + chance.randrange(1, 64)]
    TARGETS[target](bytes(written))
