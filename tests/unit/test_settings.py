"""Settings: defaults that are safe, unknown keys refused, no open door without authentication."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from drimbox.errors import Malformed
from drimbox.settings import Settings, is_loopback, read_settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def write(folder: Path, text: str) -> Path:
    file = folder / "drimbox.toml"
    file.write_text(text)
    return file


def test_defaults_open_loopback_only():
    settings = Settings()
    assert {settings.dicom.host, settings.http.host, settings.hl7.host} == {"127.0.0.1"}
    assert settings.dicom.port == 11112
    assert settings.hl7.port == 2575
    assert settings.audit.retention_days == 1095


def test_the_environment_is_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIMBOX_DICOM__PORT", "104")
    settings = read_settings(write(tmp_path, '[dicom]\nport = 11113\nae_title = "FILE"\n'))
    assert (settings.dicom.port, settings.dicom.ae_title) == (104, "FILE")


def test_origins_of_viewers_are_as_browsers_write_them(tmp_path):
    given = ("https://viewer.example.org", "https://v.example.org:8443", "http://127.0.0.1:3000", "http://localhost:80")
    text = f"[http]\nviewer_origins = {list(given)}\n".replace("'", '"')
    assert read_settings(write(tmp_path, text)).http.viewer_origins == given


def test_lists_of_the_environment_are_json(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIMBOX_HL7__SENDERS", '["192.0.2.7", "192.0.2.8"]')
    assert read_settings(write(tmp_path, "")).hl7.senders == ("192.0.2.7", "192.0.2.8")
    monkeypatch.setenv("DRIMBOX_HL7__SENDERS", "192.0.2.7")
    with pytest.raises(Malformed, match=r'"hl7".*JSON'):
        read_settings(write(tmp_path, ""))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[dicom]\nporrt = 1\n", "dicom.porrt"),
        ("[surprise]\nx = 1\n", "surprise"),
        ("[dicom]\nport = 70000\n", "dicom.port"),
        ("not toml", "drimbox.toml"),
        ('[http]\nhost = "0.0.0.0"\n', "auth.mode"),
        ('[http]\nhost = "imaging.example.org"\n', "auth.mode"),
        ('[dicom]\nhost = "0.0.0.0"\n', "dicom.callers"),
        ('[hl7]\nhost = "::"\n', "hl7.senders"),
        ('[dicom]\ncallers = [{ae_title = "CT1", address = "ct1.example.org"}]\n', "dicom.callers.0.address"),
        ('[dicom]\ncallers = [{ae_title = "CT1", address = "192.0.2.7/24"}]\n', "dicom.callers.0.address"),
        ('[dicom]\ncallers = [{ae_title = "CT1", address = "0.0.0.0/0"}]\n', "dicom.callers.0.address"),
        ('[http]\nviewer_origins = ["*"]\n', "http.viewer_origins.0"),
        ('[http]\nviewer_origins = ["https://viewer.example.org/"]\n', "http.viewer_origins.0"),
        ('[http]\nviewer_origins = ["https://*.example.org"]\n', "http.viewer_origins.0"),
        ('[http]\nviewer_origins = ["http://viewer.example.org"]\n', "http.viewer_origins.0"),
        ('[http]\nviewer_origins = ["null"]\n', "http.viewer_origins.0"),
        ("[dicom]\nplain = false\n", "dicom.plain"),
        ("[dicom]\ntls_port = 2762\n", "dicom.tls_certificate"),
        ('[dicom]\ntls_port = 2762\ntls_certificate = "a"\ntls_key = "b"\n', ".tls_ca"),
        ('[dicom]\ntls_client = "never"\n', "dicom.tls_client"),
        ("[dicom]\nmax_unfinished_bytes_per_caller = 4194304\n", "max_object_bytes"),
        ("[dicom]\nusers_required = true\n", "dicom.users"),
        ('[dicom]\ncallers = [{ae_title = "A", address = "::1", user = "a"}]\n', "dicom.users"),
        ('[dicom]\ncallers = [{ae_title = "A", address = "::1", certificate = "CN=a"}]\n', "dicom.tls_port"),
        ('[dicom]\ncallers = [{ae_title = "", address = "192.0.2.7"}]\n', "dicom.callers.0.ae_title"),
        ('[peers]\nknown = [{name = "db1", url = "db1.example.org"}]\n', "peers.known.0.url"),
        ('[http]\npublic_url = "drimbox.example.org"\n', "http.public_url"),
        ('[kos]\nretrieve_url = "https://example.org/dicom-web?a=b"\n', "kos.retrieve_url"),
        ('[kos]\nuid_root = "1.2.250.1.999.01"\n', "kos.uid_root"),
        ('[kos]\nuid_root = "1.2.250.1.999.1234567890.1"\n', "kos.uid_root"),
        ('[dmp]\nsource_id = "centre"\n', "dmp.source_id"),
        ("[pacs]\nfetch_reported = true\n", "pacs.host"),
        ('[pacs]\nfetch_reported = true\nhost = "192.0.2.10"\n', "dicom.callers"),
        ("[pacs]\nlook_again_s = [0]\n", "pacs.look_again_s.0"),
        ('[kos]\nlocation_uid = "the repository"\n', "kos.location_uid"),
        ('[dmp]\nrepository_url = "https://dmp.example.org"\n', "dmp.structures"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(tmp_path, text, named):
    with pytest.raises(Malformed, match=re.escape(named)):
        read_settings(write(tmp_path, text))


def test_a_lan_door_opens_once_its_callers_are_listed(tmp_path):
    text = '[dicom]\nhost = "0.0.0.0"\ncallers = [{ae_title = "CT1", address = "192.0.2.7"}]\n'
    assert read_settings(write(tmp_path, text)).dicom.callers[0].ae_title == "CT1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("db", False)],
)
def test_loopback_is_believed_of_addresses_only(host, expected):
    assert is_loopback(host) is expected


def test_every_key_is_documented():
    text = DOCUMENT.read_text("utf-8")
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key in model.model_fields:
            assert f"`{section}.{key}`" in text, f"{section}.{key} is not in docs/settings.md"
