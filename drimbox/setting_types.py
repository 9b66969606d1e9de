"""The types of values in the settings, checked when they are read."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Url = Annotated[str, Field(pattern=r"^(https?://[^/\s?#]+[^\s?#]*)?$")]
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", re.ASCII)
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


def _origin(text: str) -> str:
    """Where a page comes from: https, or http on this machine, a host, perhaps a port, and nothing behind it."""
    scheme, _, host = text.partition("://")
    name = host.rsplit(":", 1)[0]
    on_loopback = name in ("localhost", "[::1]") or name.startswith("127.")
    if not _ORIGIN.fullmatch(text) or (scheme == "http" and not on_loopback):
        raise ValueError("an origin is https://viewer.example.org, or with a port; http is for this machine only")
    return text


Network = Annotated[str, AfterValidator(_network)]
Origin = Annotated[str, AfterValidator(_origin)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]


class Called(BaseModel):
    """Whom we call by DIMSE: under TLS where `tls_ca` is set, with a certificate of ours where `tls_certificate` is.

    tls_name: the name that its certificate must have, when that is not `host`. user: the one we name when we open an
    association (PS3.7 annex D.3.3.7), with the passcode in the first line of `passcode_file`, or alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_name: str = ""
    user: str = ""
    passcode_file: Path | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.passcode_file is not None and not self.user:
            raise ValueError("passcode_file is set: so must be user")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("of tls_certificate and tls_key, both are set or none")
        if self.tls_ca is None and (self.tls_certificate or self.tls_name):
            raise ValueError("tls_certificate or tls_name is set: so must be tls_ca, or it would be called without TLS")
        return self
