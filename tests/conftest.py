"""What all tests stand on."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pynetdicom import AE

from drimbox.pacs.reader import keep_still

# How long an example takes, or the making of one, is the machine's business: no property fails by the clock.
settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _no_answer_of_a_peer_is_lost() -> Any:
    """Tests that ask with pynetdicom itself get every answer; why they would not: drimbox/pacs/reader.py.

    Not what the product makes of it: that it sees to this alone is tested.
    """
    made = AE._create_socket

    def make(self: AE, assoc: Any, *words: Any, **named: Any) -> Any:
        if type(self) is AE:
            keep_still(assoc)
        return made(self, assoc, *words, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AE, "_create_socket", make)
        yield
