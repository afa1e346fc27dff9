"""The machine's roots, and OpenSSL's own opinion."""

import dataclasses
import os
import ssl
import time

import pytest
from structlog.testing import capture_logs

from edgeproxy.control.issuance.upload import read_upload, trust
from edgeproxy.control.issuance.upload.trust import SystemRoots, bundle, check_loads
from edgeproxy.errors import InvalidCertificate
from tests.authorities import Authority, key_text, new_key, pem

ROOT, OTHER = Authority("Root"), Authority("Other")


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """A file of roots that the machine is told to trust."""
    path = tmp_path / "roots.pem"
    path.write_text("# words\n" + pem(ROOT.certificate) + "-----BEGIN CERTIFICATE-----\nodd\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def test_the_machines_roots_are_read_but_for_odd_ones(roots):
    found = SystemRoots().get()
    assert len(found) == 1
    assert found.have(ROOT.certificate)


def test_they_are_read_again_when_they_change(roots):
    system = SystemRoots()
    first = system.get()
    assert system.get() is first
    roots.write_text(pem(ROOT.certificate, OTHER.certificate))
    os.utime(roots, (1, 1))
    assert system.get().have(OTHER.certificate)


def test_a_machine_without_roots_trusts_none(monkeypatch):
    monkeypatch.setattr(trust, "bundle", lambda: None)
    assert len(SystemRoots().get()) == 0


def test_roots_that_cannot_be_read_are_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(trust, "bundle", lambda: tmp_path / "gone")
    with capture_logs() as logged:
        assert len(SystemRoots().get()) == 0
    assert logged[0]["event"] == "the machine's roots cannot be read"


def test_openssls_own_place_comes_before_others(monkeypatch, tmp_path):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    mine = tmp_path / "elsewhere.pem"
    mine.write_text("")
    paths = ssl.get_default_verify_paths()
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths._replace(cafile=""))
    monkeypatch.setattr(trust, "BUNDLES", ("/nowhere", str(mine)))
    assert bundle() == mine
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths._replace(cafile=str(mine)))
    monkeypatch.setattr(trust, "BUNDLES", ())
    assert bundle() == mine


def test_what_workers_could_not_serve_is_refused(roots):
    key = new_key()
    chain = pem(ROOT.sign("a.example", key=key))
    issued = read_upload("a.example", chain, key_text(key), SystemRoots().get(), time.time()).issued
    check_loads(issued)
    mixed = dataclasses.replace(issued, key=key_text(new_key()).encode())
    with pytest.raises(InvalidCertificate, match=r"OpenSSL does not take the certificate \(KEY_VALUES_MISMATCH\)") as caught:
        check_loads(mixed)
    assert caught.value.__cause__ is None
