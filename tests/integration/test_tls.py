"""TLS as real clients meet it: versions, ciphers, and sessions that resume in every worker and under no other name."""

import socket
import ssl
import struct
import subprocess

import pytest

from tests.hellos import extension, hello, server_name, signature_algorithms, versions
from tests.integration.nginx import NAME, WORKSPACE
from tests.integration.running import PATIENCE, Running, wait_for
from tests.integration.visitors import TlsClient, seen


@pytest.fixture
def edge(front_door):
    return front_door


@pytest.mark.parametrize(("version", "said"), [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")])
def test_new_versions_of_tls_are_spoken(edge, version, said):
    output = _s_client(edge, version)
    assert f"Protocol  : {said}" in output or f"New, {said}" in output
    assert "Verify return code: 0 (ok)" in output


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
def test_old_versions_of_tls_are_refused(edge, version):
    output = _s_client(edge, version, "-cipher", "DEFAULT@SECLEVEL=0")
    assert "protocol version" in output
    assert "Cipher is (NONE)" in output


@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_authenticated_encryption_are_refused(edge, cipher):
    assert "Cipher is (NONE)" in _s_client(edge, "-tls1_2", "-cipher", f"{cipher}@SECLEVEL=0")


def test_early_data_is_not_taken_and_the_connection_goes_on(edge, tmp_path):
    """It could be sent again by anybody (RFC 8446 section 8): not even by a client that sends some uninvited."""
    session, early = tmp_path / "session.pem", tmp_path / "early"
    asking = f"GET {{}} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
    options = ("-tls1_3", "-ign_eof")
    first = _s_client(edge, *options, "-sess_out", session, said=asking.format("/seen"))
    assert "Max Early Data: 0" in first
    assert "HTTP/1.1 200" in first
    session.write_text(_with_early_data(session.read_text()))
    early.write_text(asking.format("/seen?early"))
    second = _s_client(edge, *options, "-sess_in", session, "-early_data", early, said=asking.format("/seen?second"))
    assert "Early data was rejected" in second
    assert "Reused, TLSv1.3" in second
    assert second.count("HTTP/1.1 200") == 1
    assert "target: /seen?second" in second
    assert "seen?early" not in second


def _with_early_data(pem):
    """The session, as if its ticket had allowed 16 KiB of early data: field 15 of OpenSSL's SSL_SESSION."""
    der = ssl.PEM_cert_to_DER_cert(pem.replace("SSL SESSION PARAMETERS", "CERTIFICATE"))
    fields, allowed = [], b"\xaf\x04\x02\x02\x40\x00"
    at = _content(der, 0)[0]
    while at < len(der):
        end = _content(der, at)[1]
        fields.append(der[at:end])
        at = end
    place = next((number for number, field in enumerate(fields) if field[0] > allowed[0]), len(fields))
    content = b"".join((*fields[:place], allowed, *fields[place:]))
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    return ssl.DER_cert_to_PEM_cert(der).replace("CERTIFICATE", "SSL SESSION PARAMETERS")


def _content(der, at):
    """Where the content of a DER element begins and ends."""
    octets = der[at + 1] - 0x80
    if octets < 0:
        return at + 2, at + 2 + der[at + 1]
    begin = at + 2 + octets
    return begin, begin + int.from_bytes(der[at + 2 : begin], "big")


def _s_client(edge, *options, said=""):
    command = ["openssl", "s_client", "-connect", f"{edge.host}:{edge.https_port}", "-servername", NAME]
    command += ["-CAfile", str(edge.root), "-verify_hostname", NAME, *options]
    done = subprocess.run(command, input=said.encode(), capture_output=True, timeout=PATIENCE, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def _worker(visit):
    """Which worker it was: each has a prefix of its own for request ids."""
    return seen(visit.body)["x-request-id"].partition("-")[0]


def _resumed_by_both(visitor, session, hostname=NAME):
    """Visits with a session until two workers were met; all of them must resume."""
    met = set()

    def both():
        visit = visitor.visit(hostname, session=session)
        assert visit.status == 200
        assert visit.reused
        met.add(_worker(visit))
        return len(met) == 2

    wait_for(both, "visits to two workers")


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_resume_in_every_worker(edge, version):
    visitor = TlsClient(edge, version)
    first = visitor.visit(NAME)
    assert not first.reused
    _resumed_by_both(visitor, first.session)


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_never_resume_under_another_hostname(edge, version):
    """Not even one that the same wildcard certificate covers."""
    visitor = TlsClient(edge, version)
    session = visitor.visit("one.platform.test").session
    for _ in range(8):
        assert not visitor.visit("two.platform.test", session=session).reused
        assert not visitor.visit(NAME, session=session).reused
    assert visitor.visit("one.platform.test", session=session).reused


def test_sessions_resume_after_a_restart_of_the_whole_program(nginx, tmp_path):
    with Running(tmp_path, {"origin": {"url": nginx.url}, "platform": {"name": "platform.test"}}) as edge:
        edge.add_domain(NAME, WORKSPACE)
        visitors = [TlsClient(edge, version) for version in VERSIONS]
        names = (NAME, "one.platform.test")
        sessions = {(visitor, name): visitor.visit(name).session for visitor in visitors for name in names}
        assert edge.stop() == 0
        edge.start()
        for (visitor, name), session in sessions.items():
            assert not visitor.visit("two.platform.test", session=session).reused
            _resumed_by_both(visitor, session, name)


# What clients may not have, and what they may send


@pytest.mark.parametrize("algorithms", ["ECDSA+SHA1", "RSA+SHA1:ECDSA+SHA1"])
def test_nothing_is_signed_with_sha_1(edge, algorithms):
    output = _s_client(edge, "-tls1_2", "-sigalgs", algorithms, "-cipher", "DEFAULT@SECLEVEL=0")
    assert "Cipher is (NONE)" in output


def test_nothing_is_compressed_and_nobody_negotiates_anew(edge):
    output = _s_client(edge, "-tls1_2", "-comp", said="R\n")
    assert "Compression: NONE" in output
    assert "Secure Renegotiation IS supported" in output  # it is told, so that nobody can begin in a victim's name (RFC 5746)
    assert "no renegotiation" in output


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_curves_that_browsers_have_are_agreed_on(edge, group):
    assert "Verify return code: 0 (ok)" in _s_client(edge, "-tls1_3", "-groups", group)


@pytest.mark.parametrize("group", ["P-192", "secp160r1", "sect163k1"])
def test_weak_curves_are_not(edge, group):
    output = _s_client(edge, "-tls1_2", "-groups", group, "-cipher", "DEFAULT@SECLEVEL=0")
    assert "Cipher is (NONE)" in output or "error with command" in output.lower()


def test_the_hybrid_post_quantum_group_is_chosen_where_openssl_has_it(edge):
    """A client that has both groups, and guesses neither, is told which one the edge wants."""
    hybrid, plain = 0x11EC, 0x001D
    groups = extension(10, struct.pack(">3H", 4, plain, hybrid))
    guesses = extension(51, b"\0\0")
    sent = hello(server_name(NAME.encode()), groups, signature_algorithms(0x0403, 0x0804), versions(0x0304), guesses)
    with socket.create_connection((edge.host, edge.https_port), PATIENCE) as client:
        client.sendall(sent)
        answer = client.recv(1000)
    assert answer[5] == 2  # a ServerHello; this one asks for another ClientHello
    wanted = hybrid if ssl.OPENSSL_VERSION_INFO >= (3, 5) else plain
    assert extension(51, struct.pack(">H", wanted)) in answer


@pytest.mark.parametrize(
    ("sent", "alert"),
    [
        (
            b"".join(b"\x16\x03\x01\x00\x01" + bytes((each,)) for each in (1, 0, 1, *bytes(62))),
            50,
        ),  # a byte in each record, more of them than anybody needs: decode_error
        (b"\x16\x03\x01\x00\x04\x01\x01\x00\x00", 47),  # 64 KiB announced: illegal_parameter
        (b"\x16\x03\x01\x40\x01" + bytes(0x4001), 22),  # a record that is longer than any: record_overflow
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x50\x17\x03\x03\x00\x01\x00", 10),  # something in between: unexpected_message
        (b"\x16\x03\x01\x00\x00", 10),
        (bytes(range(128, 256)), 10),
    ],
)
def test_hellos_that_are_none_get_one_alert_and_the_end(edge, sent, alert):
    with socket.create_connection((edge.host, edge.https_port), PATIENCE) as client:
        client.sendall(sent)
        answer = b""
        while piece := client.recv(1000):
            answer += piece
    assert answer == bytes((21, 3, 3, 0, 2, 2, alert))
