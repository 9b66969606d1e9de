"""What all tests stand on."""

from typing import Any

import pytest
from pynetdicom import AE

from drimbox.pacs.reader import keep_still


@pytest.fixture(scope="session", autouse=True)
def _no_answer_of_a_peer_is_lost() -> Any:
    """Tests that ask with pynetdicom itself get every answer; why they would not: drimbox/pacs/reader.py."""
    made = AE._create_socket

    def make(self: AE, assoc: Any, *words: Any, **named: Any) -> Any:
        keep_still(assoc)
        return made(self, assoc, *words, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AE, "_create_socket", make)
        yield
