"""`drimbox check` judges the neighbours as the node will: with the authorities of the configuration."""

import http.server
import ssl
import threading
from datetime import timedelta

import pytest
from certificates import Authority

from drimbox.auth.users import write_users
from drimbox.checks import run_checks
from drimbox.sandbox.certificates import make_certificates
from drimbox.settings import Settings


class Nothing(http.server.BaseHTTPRequestHandler):
    """Answers 404 to everything."""

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *args):
        """Nothing on stderr."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def neighbour(certificates):
    """The URL of an HTTPS server whose certificate comes from the sandbox's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def checked(**sections):
    return {result.name: result for result in await run_checks(Settings(**sections))}


async def test_peers_and_psc_are_believed_by_the_authorities_configured(neighbour, certificates, tmp_path):
    peers = {"known": [{"name": "db1", "url": f"{neighbour}/dicom-web"}], "ca": certificates.ca}
    results = await checked(
        node={"data_dir": tmp_path}, peers=peers, psc={"issuer_url": neighbour, "ca": certificates.ca}
    )
    for name in ("peer db1", "Pro Santé Connect"):
        assert (results[name].ok, results[name].said) == (True, "answers (HTTP 404)")


async def test_a_neighbour_of_an_unknown_authority_fails(neighbour, tmp_path):
    results = await checked(node={"data_dir": tmp_path}, psc={"issuer_url": neighbour})
    assert not results["Pro Santé Connect"].ok


async def test_missing_certificates_fail_in_a_line_each_and_the_rest_is_still_checked(neighbour, tmp_path):
    files = dict.fromkeys(("tls_certificate", "tls_key", "sign_certificate", "sign_key"), tmp_path / "none.pem")
    dmp = {"repository_url": neighbour, "structures": [{"id": "1", "name": "s", **files}]}
    results = await checked(node={"data_dir": tmp_path}, dmp=dmp)
    failed = [name for name, result in results.items() if not result.ok]
    assert failed == ["TLS certificate 1", "signing certificate 1", "DMP repository"]
    assert results["Pro Santé Connect"].said == "not configured"


async def test_each_structure_is_tried_with_its_certificates_and_they_must_be_its_own(
    neighbour, tmp_path, certificates
):
    """OU is the number of the structure: else the DMP would refuse what it says, for as long as nobody looks."""
    own = {"name": "s", **certificates.own.settings()}
    [number] = certificates.structures
    other = own | {"tls_key": str(tmp_path / "none.pem")}
    dmp = {
        "repository_url": neighbour,
        "ca": certificates.ca,
        "structures": [own | {"id": number}, other | {"id": "17"}],
    }
    results = await checked(node={"data_dir": tmp_path}, dmp=dmp)
    failed = [name for name, result in results.items() if not result.ok]
    assert failed == ["TLS certificate 17", "signing certificate 17", "DMP repository as 17"]
    said = f"issued to {number}: see id, mode and sites of dmp.structures"
    assert {results[name].said for name in failed[:2]} == {said}
    assert results[f"DMP repository as {number}"].ok


@pytest.mark.parametrize("key", ["tls_certificate", "tls_ca"])
async def test_the_first_certificate_of_the_dicom_door_to_end_is_told(tmp_path, key):
    """A month ahead, whether it is ours, one above it, or an authority of clients; lists of revocation do not count."""
    authority = Authority(tmp_path)
    sound, _ = authority.issue("sound", ends=timedelta(days=300))
    soon, _ = authority.issue("soon", ends=timedelta(days=29))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(sound.read_bytes() + soon.read_bytes() + authority.revoke(authority.last))
    files = dict.fromkeys(("tls_certificate", "tls_key", "tls_ca"), sound) | {key: chain}
    results = await checked(node={"data_dir": tmp_path}, dicom={"tls_port": 2762, **files})
    assert not results[f"dicom.{key}"].ok
    assert "renew it" in results[f"dicom.{key}"].said
    [other] = {"tls_certificate", "tls_ca"} - {key}
    assert results[f"dicom.{other}"].ok


async def test_the_file_of_the_dicom_users_is_read_and_is_for_its_owner(tmp_path):
    file = tmp_path / "users"
    absent = (await checked(dicom={"users": str(file)}))["dicom.users"]
    assert (absent.ok, "drimbox user add" in absent.said) == (False, True)
    write_users(file, {"ct1": None, "ct2": None})
    found = (await checked(dicom={"users": str(file)}))["dicom.users"]
    assert (found.ok, found.said) == (True, "2 users")
    file.chmod(0o644)
    open_to_all = (await checked(dicom={"users": str(file)}))["dicom.users"]
    assert (open_to_all.ok, "chmod 600" in open_to_all.said) == (False, True)
    file.write_text("no line of users\n")
    broken = (await checked(dicom={"users": str(file)}))["dicom.users"]
    assert (broken.ok, "line 1" in broken.said) == (False, True)
