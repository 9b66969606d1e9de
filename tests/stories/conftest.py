"""What the stories share."""

from pathlib import Path

import pytest
from making import ct


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "slices"
    folder.mkdir()
    for number in range(1, 4):
        ct(1, number).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder
