"""In which offset from UTC the dates and times of a manifest are: one for all of them (PS3.3 §C.12.1.1.8)."""

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

_OFFSET = re.compile(r"([+-])(0[0-9]|1[0-4])([0-5][0-9])")


def offset_of(study_date: str, study_time: str, told: str, place: str, now: datetime) -> timezone:
    """The offset of a study: the one its images tell, else that of the place on the day of the study, else of today.

    A manifest made in summer of a study made in winter tells the time of the study as it was on the wall: what it says
    of itself is then in that offset too. told: (0008,0201) of the images. place: a name of the IANA data base. now:
    aware.
    """
    if found := _OFFSET.fullmatch(told.strip()):
        sign, hours, minutes = found.groups()
        return timezone(timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if sign == "-" else 1))
    zone = ZoneInfo(place)
    try:
        moment = datetime.strptime(study_date + study_time[:4].ljust(4, "0"), "%Y%m%d%H%M").replace(tzinfo=zone)
    except ValueError:
        moment = now.astimezone(zone)
    return timezone(moment.utcoffset() or timedelta())
