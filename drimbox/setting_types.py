"""The types of values in the settings, checked when they are read."""

from ipaddress import ip_network
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field

Url = Annotated[str, Field(pattern=r"^(https?://[^/\s?#]+[^\s?#]*)?$")]
Oid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]


def _network(text: str) -> str:
    """An address, or a network as CIDR; never all the world, which would be no list at all."""
    if ip_network(text).prefixlen == 0:
        raise ValueError("all addresses: list those that may talk")
    return text


def _time_zone(name: str) -> str:
    """A name of the IANA data base, which must be there."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError("no such time zone: one is Europe/Paris") from error
    return name


Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
