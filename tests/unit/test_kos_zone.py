"""The offset of a manifest, worked by hand: Paris is at +0100 in winter and +0200 in summer, La Réunion at +0400."""

from datetime import UTC, datetime, timedelta

import pytest

from drimbox.errors import Malformed
from drimbox.kos.zone import offset_of
from drimbox.settings import Settings, read_settings

SUMMER = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("date", "time", "told", "place", "hours"),
    [
        ("20260108", "102500", "", "Europe/Paris", 1),  # a study of winter, published in summer
        ("20260601", "102500.5", "", "Europe/Paris", 2),
        ("20260329", "015900", "", "Europe/Paris", 1),  # the night the clocks go forward, before and after
        ("20260329", "030000", "", "Europe/Paris", 2),
        ("20260601", "", "", "Europe/Paris", 2),
        ("", "", "", "Europe/Paris", 2),
        ("2026", "10", "", "Europe/Paris", 2),
        ("20260108", "102500", "", "Indian/Reunion", 4),
        ("20260108", "102500", "-0330", "Europe/Paris", -3.5),  # the images know better
        ("20260108", "102500", "+0000", "Europe/Paris", 0),
        ("20260108", "102500", "CET", "Europe/Paris", 1),
        ("20260108", "102500", "+9900", "Europe/Paris", 1),
    ],
)
def test_the_offset(date: str, time: str, told: str, place: str, hours: float) -> None:
    assert offset_of(date, time, told, place, SUMMER).utcoffset(None) == timedelta(hours=hours)


def test_a_place_nobody_knows_is_refused_at_start(tmp_path) -> None:
    assert Settings().kos.time_zone == "Europe/Paris"
    file = tmp_path / "drimbox.toml"
    file.write_text('[kos]\ntime_zone = "Europe/Nowhere"\n')
    with pytest.raises(Malformed, match="no such time zone"):
        read_settings(file)
