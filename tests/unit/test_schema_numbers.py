"""The numbered steps of each schema."""

from importlib.resources import files

import pytest


@pytest.mark.parametrize("schema", ["migrations", "outbox_schema"])
def test_each_step_of_a_schema_has_a_number_of_its_own(schema):
    """Two changes may take the same one: then one of the two steps would never be made."""
    scripts = [entry.name for entry in (files("drimbox.storage") / schema).iterdir() if entry.name.endswith(".sql")]
    assert sorted(int(name[:4]) for name in scripts) == list(range(1, len(scripts) + 1))
