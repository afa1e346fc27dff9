"""ClientHellos for tests: built byte by byte, and as real clients send them."""

import contextlib
import ssl
import struct


def extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">HH", kind, len(content)) + content


def server_name(name: bytes) -> bytes:
    return extension(0, struct.pack(">HBH", len(name) + 3, 0, len(name)) + name)


def alpn(*protocols: bytes) -> bytes:
    listed = b"".join(bytes((len(protocol),)) + protocol for protocol in protocols)
    return extension(16, struct.pack(">H", len(listed)) + listed)


def versions(*numbers: int) -> bytes:
    return extension(43, bytes((2 * len(numbers),)) + struct.pack(f">{len(numbers)}H", *numbers))


def signature_algorithms(*numbers: int) -> bytes:
    return extension(13, struct.pack(f">H{len(numbers)}H", 2 * len(numbers), *numbers))


def body(*extensions: bytes, version: int = 0x0303, session: bytes = b"", suites: bytes = b"\x13\x01\xc0\x2b") -> bytes:
    """The body of a ClientHello; without extensions the whole block is left out."""
    block = b"".join(extensions)
    return b"".join(
        (
            struct.pack(">H", version),
            bytes(range(32)),
            bytes((len(session),)) + session,
            struct.pack(">H", len(suites)) + suites,
            b"\x01\x00",
            struct.pack(">H", len(block)) + block if extensions else b"",
        )
    )


def message(content: bytes, kind: int = 1) -> bytes:
    return bytes((kind,)) + len(content).to_bytes(3, "big") + content


def record(fragment: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return struct.pack(">BHH", kind, version, len(fragment)) + fragment


def hello(*extensions: bytes, version: int = 0x0303, session: bytes = b"") -> bytes:
    """A whole hello in one record."""
    return record(message(body(*extensions, version=version, session=session)))


def from_python(context: ssl.SSLContext, hostname: str | None, session: ssl.SSLSession | None = None) -> bytes:
    """What Python's ssl sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=hostname, session=session)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def name_seen_by_openssl(data: bytes) -> str | None:
    """The server name for which OpenSSL would choose a certificate; "?" where it refuses the hello before that."""
    seen = "?"

    def choose(_connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int:
        nonlocal seen
        seen = name  # type: ignore[assignment]
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = choose
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(data)
    with contextlib.suppress(ssl.SSLError):
        server.do_handshake()
    return seen
