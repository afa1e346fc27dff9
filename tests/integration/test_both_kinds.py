"""A certificate with an ECDSA key and one with an RSA key for each name: every client is served under the one that it takes."""

import json
import re
import ssl
import subprocess

import pytest

from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.servers import require
from tests.integration.visitors import TlsClient

NAME = "shop.example.com"


@pytest.fixture(scope="module")
def edge(tmp_path_factory, nginx):
    require("openssl")
    tables = {"origin": {"url": nginx.url}, "tls": {"second_key_type": "rsa2048"}, "workers": {"count": 2}}
    with Running(tmp_path_factory.mktemp("kinds"), tables) as edge:
        edge.add_domain(NAME)
        assert "id-ecPublicKey" in kind(edge)
        wait_for(lambda: shown(edge)["companion"], "the certificate with an RSA key")
        yield edge


def shown(edge):
    return json.loads(edge.cli("certs", "show", NAME, "--json", check=True).stdout)["certificate"]


def asked(edge, *options):
    command = ["openssl", "s_client", "-connect", f"{edge.host}:{edge.https_port}", "-servername", NAME]
    command += ["-CAfile", str(edge.root), "-verify_hostname", NAME, *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def kind(edge, *options):
    """The kind of key in the certificate that a client gets; empty where there is no handshake."""
    said = asked(edge, *options)
    if "Verify return code: 0 (ok)" not in said or "-----BEGIN CERTIFICATE-----" not in said:
        return ""
    pem = (
        said[said.index("-----BEGIN CERTIFICATE-----") : said.index("-----END CERTIFICATE-----")]
        + "-----END CERTIFICATE-----\n"
    )
    command = ["openssl", "x509", "-noout", "-text"]
    text = subprocess.run(command, input=pem.encode(), capture_output=True, timeout=PATIENCE, check=True).stdout.decode()
    return next(iter(re.findall(r"Public Key Algorithm: (\S+)", text)), "")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "id-ecPublicKey"),
        (("-tls1_2",), "id-ecPublicKey"),
        (("-tls1_3",), "id-ecPublicKey"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"), "id-ecPublicKey"),
        (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "rsaEncryption"),
        (("-tls1_2", "-sigalgs", "RSA+SHA256:RSA-PSS+SHA256"), "rsaEncryption"),
        (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"), "rsaEncryption"),
        (("-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256"), "id-ecPublicKey"),
        (("-tls1_2", "-groups", "P-384", "-sigalgs", "RSA-PSS+SHA256:ECDSA+SHA256:RSA+SHA256"), "rsaEncryption"),
    ],
)
def test_each_client_gets_the_kind_that_it_takes(edge, options, expected):
    for _ in range(4):  # both workers
        assert kind(edge, *options) == expected


class RsaOnly(TlsClient):
    """A client of TLS 1.2 that knows no ECDSA."""

    def __init__(self, edge):
        super().__init__(edge, ssl.TLSVersion.TLSv1_2)
        self.context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")


def test_requests_are_answered_and_sessions_resume_under_their_own_kind_alone(edge):
    old, new = RsaOnly(edge), TlsClient(edge, ssl.TLSVersion.TLSv1_2)
    ours, theirs = old.visit(NAME), new.visit(NAME)
    assert (ours.status, theirs.status) == (200, 200)
    for _ in range(6):
        assert old.visit(NAME, session=ours.session).reused
        assert new.visit(NAME, session=theirs.session).reused


def test_both_are_shown_renewed_and_destroyed_together(edge):
    before = shown(edge)
    assert (before["key_type"], before["companion"]["key_type"]) == ("p256", "rsa2048")
    assert edge.cli("certs", "renew", NAME).returncode == 0
    assert kind(edge, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256") == "rsaEncryption"
    wait_for(lambda: shown(edge)["companion"]["serial"] != before["companion"]["serial"], "the companion's renewal")
    assert shown(edge)["serial"] != before["serial"]
    words = edge.cli("certs", "show", NAME, check=True).stdout
    assert f"serial {shown(edge)['companion']['serial']}, rsa2048" in words
    assert edge.cli("domains", "remove", NAME).returncode == 0
    found = edge.cli("certs", "show", NAME)
    assert found.returncode == 1
    assert before["companion"]["serial"] in found.stdout, "the history"
