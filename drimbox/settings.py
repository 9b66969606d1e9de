"""Typed settings, one section a package; read once, frozen, unknown keys refused.

One TOML file and, over it, environment variables `DRIMBOX_<SECTION>__<KEY>`. Secrets are paths of files.
`docs/settings.md` lists every key; a test holds the two together.
"""

import os
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from drimbox.errors import Malformed
from drimbox.setting_types import Called, Network, Oid, Origin, TimeZone, Url


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Node(_Section):
    """`data_dir`: everything the node keeps. `workers`: processes that receive; the first one does all the rest too."""

    data_dir: Path = Path("drimbox-data")
    workers: int = Field(1, ge=1, le=64)


class Caller(_Section):
    """A DICOM application entity allowed to talk to us: all that is told must be right.

    address: of a host, or of a network (CIDR). certificate: subject that must have been shown over TLS, RFC 4514.
    user: of `dicom.users`, that must have been named and proven.
    """

    ae_title: str = Field(min_length=1, max_length=16)
    address: Network
    certificate: str = ""
    user: str = ""


class Destination(Called):
    """Where a C-MOVE may send: what it is called in the request, and where it is."""

    ae_title: str = Field(min_length=1, max_length=16)
    host: str
    port: int = Field(ge=1, le=65535)


class Dicom(_Section):
    """The DIMSE door. `callers` empty: anyone from loopback, nobody else, under whatever called AE title."""

    ae_title: str = Field("DRIMBOX", min_length=1, max_length=16)
    other_titles: tuple[Annotated[str, Field(min_length=1, max_length=16)], ...] = ()
    host: str = "127.0.0.1"
    port: int = Field(11112, ge=0, le=65535)
    callers: tuple[Caller, ...] = ()
    destinations: tuple[Destination, ...] = ()
    plain: bool = True  # False: through tls_port only
    tls_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_client: Literal["required", "optional"] = "required"
    tls_handshake_timeout_s: float = Field(10, gt=0)
    users: Path | None = None  # None: no user identity is negotiated
    users_required: bool = False
    users_without_passcode: bool = False
    users_of_other_kinds: Literal["refused", "ignored"] = "refused"
    max_associations: int = Field(1000, ge=1)
    max_associations_per_caller: Annotated[int, Field(ge=1)] | None = None
    max_pdu_bytes: int = Field(131072, ge=4096, le=1048576)
    max_object_bytes: int = Field(16 * 2**30, ge=2**20)
    max_unfinished_bytes_per_caller: Annotated[int, Field(ge=2**21)] | None = None  # None: twice max_object_bytes
    request_timeout_s: float = Field(30, gt=0)  # from connection to A-ASSOCIATE-RQ (ARTIM)
    idle_timeout_s: float = Field(300, gt=0)  # no operation outstanding
    message_timeout_s: float = Field(3600, gt=0)  # one whole C-STORE, however slow its sender
    receivers: int = Field(2, ge=1, le=64)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tls_port is None:
            if not self.plain:
                raise ValueError("dicom.plain is false: set dicom.tls_port, or nobody can come in")
            if any(caller.certificate for caller in self.callers):
                raise ValueError("a caller has a certificate, which only dicom.tls_port can see: set it")
        elif not (self.tls_certificate and self.tls_key and self.tls_ca):
            raise ValueError("dicom.tls_port is set: so must be dicom.tls_certificate, .tls_key and .tls_ca")
        if self.unfinished_bytes < self.max_object_bytes + 2**20:
            raise ValueError("dicom.max_unfinished_bytes_per_caller must be 1 MiB more than dicom.max_object_bytes")
        if self.users is None and (self.users_required or any(caller.user for caller in self.callers)):
            raise ValueError("dicom.users_required or the user of a caller is set: set dicom.users, which lists them")
        return self

    @property
    def unfinished_bytes(self) -> int:
        """What one caller may have on its way in."""
        return self.max_unfinished_bytes_per_caller or 2 * self.max_object_bytes


class Http(_Section):
    """The DICOMweb door and the portal. `public_url`: what the world calls us; derived when empty."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    public_url: Url = ""
    trusted_proxies: tuple[Network, ...] = ()  # whose Forwarded and X-Forwarded-For are believed
    viewer_origins: tuple[Origin, ...] = ()  # of pages elsewhere that may read DICOMweb
    metadata_max_bytes: int = Field(4 * 2**30, ge=0)  # of what is written ahead, beside the images


class Hl7(_Section):
    """The MLLP door. `senders` empty: loopback only. With `tls_certificate`, TLS only, from whoever `tls_ca` knows."""

    host: str = "127.0.0.1"
    port: int = Field(2575, ge=0, le=65535)
    senders: tuple[str, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    max_message_bytes: int = Field(64 * 2**20, ge=2**16)
    message_timeout_s: float = Field(60, gt=0)
    idle_timeout_s: float = Field(600, gt=0)
    max_connections: int = Field(100, ge=1)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = [file is not None for file in (self.tls_certificate, self.tls_key, self.tls_ca)]
        if any(given) and not all(given):
            raise ValueError("of hl7.tls_certificate, .tls_key and .tls_ca, all are set or none")
        return self


class Software(_Section):
    """The LPS as the DMP knows it: homologation identity of the VIHF."""

    id: str = "0000000000"
    name: str = "DRIMbox"
    version: str = "0.1"
    homologation: str = ""


class DmpStructure(_Section):
    """A care structure we may speak for, with its two certificates (ORG AUTH_CLI and ORG SIGN of IGC-Santé).

    sector: healthcareFacilityTypeCode, told to the DMP when one of its professionals consults. mode: whose number the
    DMP is told, the geographic site's (`EG`), the legal entity's (`EJ`), or the site's in the metadata and the
    entity's in the VIHF (`EJ/EG`). sites: ids of the geographic sites that an entity's certificates speak for.
    """

    id: str
    name: str
    sector: str = "SA08"
    mode: Literal["EJ", "EG", "EJ/EG"] = "EG"
    sites: tuple[str, ...] = ()
    tls_certificate: Path
    tls_key: Path
    sign_certificate: Path
    sign_key: Path

    @model_validator(mode="after")
    def _sites_have_an_entity(self) -> Self:
        if self.sites and self.mode == "EG":
            raise ValueError("sites are those of a legal entity: mode must be EJ or EJ/EG")
        return self


class Dmp(_Section):
    """The national record. Off while the URLs are empty: manifests wait in the outbox."""

    repository_url: Url = ""
    registry_url: Url = ""
    patients_url: Url = ""
    habilitations_url: Url = ""
    ca: Path | None = None
    ins_authority: str = "1.2.250.1.213.1.4.8"  # INS-NIR; 1.2.250.1.213.1.4.10 on the test bench
    software: Software = Software()
    structures: tuple[DmpStructure, ...] = ()
    timeout_s: float = Field(30, gt=0)
    vihf_algorithm: Literal["sha256", "sha1"] = "sha256"
    signature_algorithm: Literal["sha256", "sha1"] = "sha256"
    source_id: Oid = Field("1.2.250.1.213.4.5.9", max_length=64)  # OID of this installation, XDSSubmissionSet.sourceId

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.repository_url and not self.structures:
            raise ValueError("dmp.repository_url is set: dmp.structures needs at least one structure")
        served = [identifier for structure in self.structures for identifier in (structure.id, *structure.sites)]
        if len(served) != len(set(served)):
            raise ValueError("dmp.structures: an id, or a site, is there twice: which certificate would speak for it?")
        return self


class Psc(_Section):
    """Pro Santé Connect."""

    issuer_url: Url = ""
    ca: Path | None = None


class KnownPeer(_Section):
    """A DRIMbox we may fetch images from: `url` is the prefix every RetrieveURL of it must start with."""

    name: str
    url: Url


class Peers(_Section):
    """Other DRIMboxes. `known`: the ones we may call; nothing else is ever called."""

    known: tuple[KnownPeer, ...] = ()
    ca: Path | None = None
    timeout_s: float = Field(60, gt=0)


class Pacs(Called):
    """The PACS of the centre, as we call it. Off while `host` is empty.

    retrieve_by: `move` needs our AE title and address in the PACS, `get` needs nothing there but a PACS that offers it.
    fetch_reported: the images stay in the PACS; those of a study are brought in once a report documents it, and its
    manifest names what the PACS lists.
    """

    ae_title: str = Field("PACS", min_length=1, max_length=16)
    host: str = ""
    port: int = Field(104, ge=1, le=65535)
    retrieve_by: Literal["move", "get"] = "move"
    timeout_s: float = Field(30, gt=0)  # one question with its answers
    retrieve_timeout_s: float = Field(3600, gt=0)  # one study, all of it
    fetch_reported: bool = False
    fetch_at_once: int = Field(2, ge=1, le=32)
    fetch_attempts: int = Field(10, ge=1)  # that bring nothing new; then a human looks at it
    look_again_s: tuple[Annotated[float, Field(gt=0)], ...] = (600, 3600, 14400, 86400)  # after a publication

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if self.fetch_reported and not self.host:
            raise ValueError("pacs.fetch_reported is true: set pacs.host")
        return self

    @property
    def place(self) -> Destination:
        """Where it is. Only when it is configured."""
        return Destination(**self.model_dump(include=set(Destination.model_fields)))


class Kos(_Section):
    """The manifest. `uid_root` `2.25`: UUID-derived UIDs. `retrieve_url` derived from `http.public_url` when empty.

    location_uid: OID of the place the images are fetched from (0040,E011), left out when empty. replaced_s: how long
    another DRIMbox may still name a manifest that was replaced; 0: only the newest. time_zone: of the modalities.
    """

    uid_root: Oid = Field("2.25", max_length=24)  # the 39 digits of a UUID come after it
    retrieve_url: Url = ""
    institution: str = ""
    location_uid: Annotated[str, Field(pattern=r"^([0-2](\.(0|[1-9][0-9]*))+)?$", max_length=64)] = ""
    replaced_s: float = Field(300, ge=0)
    time_zone: TimeZone = "Europe/Paris"


class Pixels(_Section):
    """Images in another form than they are kept in."""

    workers: int = Field(0, ge=0, le=256)
    cache_bytes: int = Field(2 * 2**30, ge=0)
    lossy: bool = False


class Publish(_Section):
    """The outbox. `settle_s`: how long a study must be quiet before its manifest is built. `senders`: at once."""

    settle_s: float = Field(5, ge=0)
    senders: int = Field(4, ge=1, le=64)
    most_per_s: float = Field(20, gt=0)
    retry_first_s: float = Field(5, gt=0)
    retry_most_s: float = Field(3600, gt=0)
    poll_s: float = Field(1, gt=0)


class Audit(_Section):
    """The trail."""

    retention_days: int = Field(1095, ge=180)


class LocalProfessional(_Section):
    """A professional the DMP knows: RPPS number, names, profession code (1.2.250.1.71.1.2.7, `10` is a physician)."""

    id: str
    family: str
    given: str
    profession: str = "10"


class Auth(_Section):
    """`none` is for loopback alone: a node whose doors are open to the network refuses to start with it.

    professional: who the DMP is told is consulting while nobody signs in; without it, nobody consults.
    """

    mode: Literal["none"] = "none"
    professional: LocalProfessional | None = None


class Settings(BaseSettings):
    """The whole configuration of a node."""

    model_config = SettingsConfigDict(
        env_prefix="DRIMBOX_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    node: Node = Node()
    dicom: Dicom = Dicom()
    http: Http = Http()
    hl7: Hl7 = Hl7()
    dmp: Dmp = Dmp()
    psc: Psc = Psc()
    peers: Peers = Peers()
    pacs: Pacs = Pacs()
    kos: Kos = Kos()
    pixels: Pixels = Pixels()
    publish: Publish = Publish()
    audit: Audit = Audit()
    auth: Auth = Auth()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment is over the file; nothing else is read."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _closed_doors(self) -> Self:
        """No door opens beyond loopback while nobody is asked who they are (house rule, P15)."""
        for key, host in (("http.host", self.http.host), ("dicom.host", self.dicom.host), ("hl7.host", self.hl7.host)):
            if is_loopback(host):
                continue
            if key == "http.host" and self.auth.mode == "none":
                raise ValueError(f"{key} is not a loopback address and auth.mode is none: set http.host to 127.0.0.1")
            if key == "dicom.host" and not self.dicom.callers:
                raise ValueError(f"{key} is not a loopback address: list the allowed dicom.callers")
            if key == "hl7.host" and not self.hl7.senders:
                raise ValueError(f"{key} is not a loopback address: list the allowed hl7.senders")
        is_moved = self.pacs.fetch_reported and self.pacs.retrieve_by == "move"
        if is_moved and not self.dicom.callers and not is_loopback(self.pacs.host):
            raise ValueError("pacs.retrieve_by is move: list the PACS in dicom.callers, or nothing it sends is taken")
        return self


def is_loopback(host: str) -> bool:
    """Is `host` an address of this machine only? A name other than localhost is not believed."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read_settings(path: Path | None = None) -> Settings:
    """Read the settings from `path`, else DRIMBOX_CONFIG, else ./drimbox.toml when present, else the defaults.

    Raises Malformed, naming each wrong key and what is wrong with it. Relative paths are relative to the working
    folder, as everywhere in a shell.
    """
    named = path or (Path(found) if (found := os.environ.get("DRIMBOX_CONFIG")) else None)
    file = named or Path("drimbox.toml")
    values: dict[str, Any] = {}
    if named is not None or file.is_file():
        try:
            values = tomllib.loads(file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise Malformed("configuration", f"{file}: {error}") from error
    try:
        return Settings(**values)
    except SettingsError as error:
        raise Malformed("configuration", f"{error}: in the environment, lists and tables are JSON") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise Malformed("configuration", lines) from error
