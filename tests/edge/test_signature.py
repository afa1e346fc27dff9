"""Which clients take a certificate with an ECDSA key: told by their hello as OpenSSL's handshake tells it."""

import shutil
import socket
import ssl
import struct
import subprocess

import pytest

from edgeproxy.edge.context import server_context
from edgeproxy.edge.hello import ClientHello, parse
from edgeproxy.edge.signature import takes_ecdsa
from tests import hellos
from tests.certificates import self_signed

NAME = hellos.server_name(b"gallery.example.com")
ECDSA, RSA = b"\xc0\x2b", b"\xc0\x2f"


def groups(*numbers: int) -> bytes:
    return hellos.extension(10, struct.pack(f">H{len(numbers)}H", 2 * len(numbers), *numbers))


def parsed(*extensions: bytes, suites: bytes = ECDSA) -> ClientHello:
    found = parse(hellos.record(hellos.message(hellos.body(NAME, *extensions, suites=suites))), 32 * 1024)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("client", "kind", "takes"),
    [
        (parsed(hellos.versions(0x0304), hellos.signature_algorithms(0x0403, 0x0804)), "p256", True),
        (parsed(hellos.versions(0x0304), hellos.signature_algorithms(0x0403, 0x0804)), "", True),
        (parsed(hellos.versions(0x0304), hellos.signature_algorithms(0x0403, 0x0804)), "p384", False),
        (parsed(hellos.versions(0x0304), hellos.signature_algorithms(0x0503)), "p384", True),
        (parsed(hellos.versions(0x0304, 0x0303), hellos.signature_algorithms(0x0804, 0x0401)), "p256", False),
        (parsed(hellos.versions(0x0304)), "p256", False),
        # TLS 1.2
        (parsed(hellos.signature_algorithms(0x0403), groups(23)), "p256", True),
        (parsed(hellos.signature_algorithms(0x0603), groups(24, 29)), "p384", True),
        (parsed(hellos.signature_algorithms(0x0403)), "p384", True),
        (parsed(hellos.signature_algorithms(0x0403), groups(29)), "p256", False),
        (parsed(hellos.signature_algorithms(0x0401, 0x0804), groups(23)), "p256", False),
        (parsed(hellos.signature_algorithms(0x0403), groups(23), suites=RSA), "p256", False),
        (parsed(hellos.signature_algorithms(0x0403), groups(23), suites=RSA + ECDSA), "p256", True),
        (parsed(), "p256", True),
        (parsed(suites=RSA), "p256", False),
    ],
)
def test_tells_who_takes_ecdsa(client: ClientHello, kind: str, takes: bool) -> None:
    assert takes_ecdsa(client, kind) is takes


def test_odd_lengths_are_no_error() -> None:
    client = parsed(hellos.signature_algorithms(0x0403), hellos.extension(10, b"\x00\x03\x00\x17\x00"))
    assert takes_ecdsa(client, "p256") is True


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-tls1_2",),
        ("-tls1_3",),
        ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("-tls1_2", "-sigalgs", "RSA+SHA256:RSA-PSS+SHA256"),
        ("-tls1_2", "-sigalgs", "ECDSA+SHA384:RSA+SHA256"),
        ("-tls1_2", "-groups", "P-384:X25519"),
        ("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"),
        ("-tls1_3", "-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256"),
        ("-tls1_3", "-sigalgs", "ECDSA+SHA384:RSA-PSS+SHA256"),
        ("-sigalgs", "RSA+SHA256:RSA-PSS+SHA256"),
    ],
)
def test_agrees_with_openssl(arguments: tuple[str, ...]) -> None:
    chain, key = self_signed("gallery.example.com")
    context = server_context(chain, key, ["http/1.1"], ssl.TLSVersion.TLSv1_2, "a test")
    said, works = greeted(arguments, context)
    found = parse(said, 32 * 1024)
    assert found is not None
    assert takes_ecdsa(found, "p256") is works


def greeted(arguments: tuple[str, ...], context: ssl.SSLContext) -> tuple[bytes, bool]:
    """What OpenSSL's client says first, and whether a server with this context goes on with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", address, "-servername", "gallery.example.com", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                said = connection.recv(65536)
        finally:
            client.kill()
            client.communicate()
    return said, goes_on(context, said)


def goes_on(context: ssl.SSLContext, said: bytes) -> bool:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(said)
    try:
        server.do_handshake()
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        return False
    return True
