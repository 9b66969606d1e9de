"""What the tests of the DICOMweb door share."""

from collections.abc import Iterator

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_stage import SOURCES, Box, as_test_instance, big_instance


@pytest.fixture(scope="session")
def originals() -> dict[str, bytes]:
    return {name: as_test_instance(name) for name in SOURCES}


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory, originals: dict[str, bytes]) -> Iterator[Box]:
    served = Box(tmp_path_factory.mktemp("box"))
    try:
        for content in originals.values():
            served.keep(content)
        for number in (1, 2, 3):
            served.keep(big_instance(number, 5))
        yield served
    finally:
        served.close()


@pytest.fixture
def client(box: Box) -> DICOMwebClient:
    return DICOMwebClient(f"http://127.0.0.1:{box.port}")
