"""The ClientHello parser: what it reads, what it refuses, and that it agrees with OpenSSL."""

import shutil
import socket
import ssl
import subprocess

import pytest

from edgeproxy.edge import hello
from edgeproxy.edge.hello import HelloError, alert_record, parse
from tests import hellos

LIMIT = 32 * 1024
NAME = hellos.server_name(b"gallery.example.com")


def refused(data: bytes, limit: int = LIMIT) -> HelloError:
    with pytest.raises(HelloError) as caught:
        parse(data, limit)
    return caught.value


def test_reads_what_decides_about_the_certificate() -> None:
    data = hellos.hello(
        hellos.extension(0x0A0A, b""),
        NAME,
        hellos.alpn(b"h2", b"http/1.1"),
        hellos.versions(0x1A1A, 0x0304, 0x0303),
        hellos.signature_algorithms(0x0403, 0x0804),
        hellos.extension(35, b""),
        session=bytes(32),
    )
    found = parse(data, LIMIT)
    assert found is not None
    assert found.server_name == "gallery.example.com"
    assert found.alpn == (b"h2", b"http/1.1")
    assert found.versions == (0x1A1A, 0x0304, 0x0303)
    assert found.signature_algorithms == (0x0403, 0x0804)
    assert not found.ticket
    assert not found.acme_challenge


def test_takes_a_bytearray_and_ignores_what_follows() -> None:
    data = hellos.hello(NAME)
    assert parse(bytearray(data + b"\x14\x03\x03\x00\x01\x01"), LIMIT) == parse(data, LIMIT)


def test_a_hello_without_extensions_has_no_name() -> None:
    found = parse(hellos.hello(), LIMIT)
    assert found == hello.ClientHello(None, (), (0x0303,), (), False, b"\x13\x01\xc0\x2b")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"GALLERY.Example.COM", "gallery.example.com"),
        (b"gallery.example.com.", "gallery.example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"my_shop.example.com", "my_shop.example.com"),
        (b"localhost", "localhost"),
        (b".".join([b"a" * 63] * 3) + b"." + b"b" * 61, ".".join(["a" * 63] * 3) + "." + "b" * 61),
    ],
)
def test_the_server_name_is_normalised(sent: bytes, read: str) -> None:
    found = parse(hellos.hello(hellos.server_name(sent)), LIMIT)
    assert found is not None
    assert found.server_name == read


@pytest.mark.parametrize(
    "name",
    [
        b"127.0.0.1",
        b"::1",
        b"[::1]",
        b"2130706433",
        b"0x7f.1",
        b"a\0.example.com",
        b"a.example.com\0",
        b"a..example.com",
        b".example.com",
        b"example.com..",
        b"*.example.com",
        b"a b.example.com",
        b"-a.example.com",
        b"intranet",
        b".",
        "bücher.example".encode(),
        b"\xff\xfe",
        b"a" * 64 + b".example.com",
        b".".join([b"a" * 63] * 4) + b".com",
        b"a.example.com\r\nx",
        b"a/../b.example.com",
    ],
)
def test_what_is_not_a_hostname_is_an_unrecognized_name(name: bytes) -> None:
    assert refused(hellos.hello(hellos.server_name(name))).alert == hello.UNRECOGNIZED_NAME


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x03\x00\x00\x00",
        b"\x00\x04\x00\x00\x02a",
        b"\x00\x05\x00\x00\x01a",
        b"\x00\x04\x01\x00\x01a",
        b"\x00\x04\x00\x00\x01aa",
        b"\x00\x10\x00\x00\x05a.com\x00\x00\x05b.com",
        b"\x00\x10\x00\x00\x05a.com\x01\x00\x05b.com",
    ],
)
def test_a_server_name_extension_with_wrong_lengths_or_two_names_does_not_decode(content: bytes) -> None:
    assert refused(hellos.hello(hellos.extension(0, content))).alert == hello.DECODE_ERROR


@pytest.mark.parametrize("kind", [0, 10, 13, 16, 35, 41, 43, 0x0A0A])
def test_a_repeated_extension_does_not_decode(kind: int) -> None:
    once = {0: NAME, 13: hellos.signature_algorithms(0x0403), 16: hellos.alpn(b"h2"), 43: hellos.versions(0x0304)}.get(
        kind, hellos.extension(kind, b"")
    )
    assert refused(hellos.hello(once, once)).alert == hello.DECODE_ERROR


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\x00", b"\x00\x01\x00", b"\x00\x03\x02h2\x00", b"\x00\x03\x03h2", b"\x00\x02\x02h2", b"\x00\x04\x02h2\x00"],
)
def test_an_alpn_extension_with_wrong_lengths_does_not_decode(content: bytes) -> None:
    assert refused(hellos.hello(hellos.extension(16, content))).alert == hello.DECODE_ERROR


@pytest.mark.parametrize("kind", [13, 43])
@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\x00\x00", b"\x01\x03", b"\x02\x03", b"\x03\x03\x04\x03", b"\x00\x03\x03\x04\x03"]
)
def test_lists_of_numbers_with_wrong_lengths_do_not_decode(kind: int, content: bytes) -> None:
    assert refused(hellos.hello(hellos.extension(kind, content))).alert == hello.DECODE_ERROR


def test_a_hello_cut_anywhere_inside_its_message_does_not_decode() -> None:
    whole = hellos.body(NAME, hellos.alpn(b"h2"), hellos.versions(0x0304))
    extensions = len(hellos.body())
    for end in range(len(whole)):
        cut = hellos.record(hellos.message(whole[:end]))
        if end == extensions:
            assert parse(cut, LIMIT) is not None  # it ends exactly where extensions may be left out
        else:
            assert refused(cut).alert == hello.DECODE_ERROR, end
    assert refused(hellos.record(hellos.message(whole + b"\0"))).alert == hello.DECODE_ERROR


def test_too_many_extensions_or_protocols_do_not_decode() -> None:
    many = [hellos.extension(1000 + number, b"") for number in range(hello.EXTENSIONS_MAX)]
    assert parse(hellos.hello(*many), LIMIT) is not None
    assert refused(hellos.hello(*many, NAME)).alert == hello.DECODE_ERROR
    protocols = [b"p%d" % number for number in range(hello.ALPN_MAX)]
    assert parse(hellos.hello(hellos.alpn(*protocols)), LIMIT) is not None
    assert refused(hellos.hello(hellos.alpn(*protocols, b"h2"))).alert == hello.DECODE_ERROR


def test_only_acme_tls_alone_is_a_challenge() -> None:
    alone = parse(hellos.hello(NAME, hellos.alpn(b"acme-tls/1")), LIMIT)
    beside = parse(hellos.hello(NAME, hellos.alpn(b"acme-tls/1", b"h2")), LIMIT)
    assert alone is not None
    assert beside is not None
    assert alone.acme_challenge
    assert not beside.acme_challenge


def test_a_ticket_or_a_pre_shared_key_is_noticed() -> None:
    for offer in (hellos.extension(35, b"ticket"), hellos.extension(41, b"identities")):
        found = parse(hellos.hello(NAME, offer), LIMIT)
        assert found is not None
        assert found.ticket


@pytest.mark.parametrize(
    ("legacy", "offered"),
    [(0x0302, ()), (0x0300, ()), (0x0303, (0x0302, 0x0301)), (0x0303, (0x0A0A,)), (0x0403, ()), (0x0203, ())],
)
def test_a_client_without_tls_1_2_and_1_3_gets_protocol_version(legacy: int, offered: tuple[int, ...]) -> None:
    extensions = (NAME, hellos.versions(*offered)) if offered else (NAME,)
    assert refused(hellos.hello(*extensions, version=legacy)).alert == hello.PROTOCOL_VERSION


def test_a_later_legacy_version_is_taken_as_tls_1_2() -> None:
    found = parse(hellos.hello(NAME, version=0x0305), LIMIT)
    assert found is not None
    assert found.versions == (0x0305,)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 50, 1000])
def test_a_hello_may_be_spread_over_records(size: int) -> None:
    whole = hellos.message(hellos.body(NAME, hellos.alpn(b"h2")))
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    data = b"".join(map(hellos.record, pieces))
    if len(pieces) > hello.RECORDS_MAX:
        assert refused(data).alert == hello.DECODE_ERROR
    else:
        assert parse(data, LIMIT) == parse(hellos.record(whole), LIMIT)


@pytest.mark.parametrize("kind", [20, 21, 23, 24, 0, 255])
def test_no_other_record_may_interrupt_the_hello(kind: int) -> None:
    whole = hellos.message(hellos.body(NAME))
    data = hellos.record(whole[:20]) + hellos.record(b"\x01\x00", kind) + hellos.record(whole[20:])
    assert refused(data).alert == hello.UNEXPECTED_MESSAGE


def test_empty_and_overlong_records_are_refused() -> None:
    whole = hellos.message(hellos.body(NAME))
    assert refused(hellos.record(b"") + hellos.record(whole)).alert == hello.UNEXPECTED_MESSAGE
    assert refused(hellos.record(whole[:9]) + hellos.record(b"") + hellos.record(whole[9:])).alert == hello.UNEXPECTED_MESSAGE
    assert refused(b"\x16\x03\x01\x40\x01").alert == hello.RECORD_OVERFLOW
    assert refused(b"\x16\x03\x01\xff\xff\x01").alert == hello.RECORD_OVERFLOW


def test_the_limit_counts_the_message_over_all_its_records() -> None:
    whole = hellos.message(hellos.body(NAME, hellos.extension(21, bytes(20_000))))
    data = hellos.record(whole[:16384]) + hellos.record(whole[16384:])
    assert parse(data, len(whole)) is not None
    assert refused(data, len(whole) - 1).alert == hello.ILLEGAL_PARAMETER
    assert refused(data[:9], len(whole) - 1).alert == hello.ILLEGAL_PARAMETER
    small = hellos.hello(NAME)
    assert parse(small, len(small) - 5) is not None
    assert refused(small, len(small) - 6).alert == hello.ILLEGAL_PARAMETER


def test_the_largest_announced_message_is_refused_at_once() -> None:
    assert refused(b"\x16\x03\x01\x00\x04\x01\xff\xff\xff").alert == hello.ILLEGAL_PARAMETER


def test_another_handshake_message_is_unexpected() -> None:
    for kind in (0, 2, 16, 255):
        assert refused(hellos.record(hellos.message(hellos.body(NAME), kind))).alert == hello.UNEXPECTED_MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /a",
        b"OPTIONS * HTTP/1.1\r\n",
        b"PUT /",
        b"HEAD ",
        b"DELETE",
        b"PATCH /",
        b"PRI * HTTP/2.0\r\n",
        b"CONNECT a:443",
        b"PROPFIND /",
    ],
)
def test_plain_http_is_recognised(data: bytes) -> None:
    error = refused(data)
    assert error.plain_http
    assert error.alert == hello.UNEXPECTED_MESSAGE


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\x00",
        b"SSH-2.0-x",
        b"\x05\x01\x00\x00\x00",
        b"get / ",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"PROXY TCP4"[:3] + b"xy",
    ],
)
def test_garbage_is_unexpected_and_not_plain_http(data: bytes) -> None:
    error = refused(data)
    assert not error.plain_http
    assert error.alert == hello.UNEXPECTED_MESSAGE


def test_ssl_2_and_unknown_versions_get_protocol_version() -> None:
    assert refused(b"\x80\x2e\x01\x03\x01\x00\x15").alert == hello.PROTOCOL_VERSION
    assert refused(b"\x16\x02\x00\x00\x04\x01\x00\x00\x00").alert == hello.PROTOCOL_VERSION


def test_every_prefix_of_a_hello_wants_more() -> None:
    whole = hellos.message(hellos.body(NAME, hellos.alpn(b"h2")))
    for data in (hellos.record(whole), hellos.record(whole[:2]) + hellos.record(whole[2:60]) + hellos.record(whole[60:])):
        for end in range(len(data)):
            assert parse(data[:end], LIMIT) is None, end
        assert parse(data, LIMIT) is not None


def test_an_alert_is_one_plain_fatal_record() -> None:
    assert alert_record(hello.UNRECOGNIZED_NAME) == b"\x15\x03\x03\x00\x02\x02\x70"
    client, incoming, outgoing = hellos.client_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = client.wrap_bio(incoming, outgoing, server_hostname="a.example.com")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    incoming.write(alert_record(hello.UNRECOGNIZED_NAME))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        connection.do_handshake()


def python_hellos() -> list[tuple[str, bytes]]:
    plain = hellos.client_context()
    both = hellos.client_context()
    both.set_alpn_protocols(["h2", "http/1.1"])
    old = hellos.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new = hellos.client_context()
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    return [
        (f"{kind} {name}", hellos.from_python(context, name))
        for kind, context in (("plain", plain), ("alpn", both), ("1.2", old), ("1.3", new))
        for name in ("gallery.example.com", "Gallery.Example.COM", "localhost", None)
    ]


@pytest.mark.parametrize(("_kind", "data"), python_hellos(), ids=lambda value: value if isinstance(value, str) else "")
def test_agrees_with_openssl_about_hellos_of_python(_kind: str, data: bytes) -> None:
    found = parse(data, LIMIT)
    assert found is not None
    seen = hellos.name_seen_by_openssl(data)
    assert found.server_name == (None if seen is None else seen.lower())


def first_bytes(*command: str) -> bytes:
    """What a client program sends first. `{port}` in its arguments is where we listen."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        port = listener.getsockname()[1]
        arguments = [part.format(port=port) for part in command]
        with subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as client:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                data = connection.recv(65536)
                while parse(data, LIMIT) is None:
                    data += connection.recv(65536)
            client.wait(30)
    return data


@pytest.mark.parametrize(
    ("command", "name", "protocols"),
    [
        (
            ("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", "Gallery.example.com"),
            "gallery.example.com",
            (),
        ),
        (("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-noservername", "-tls1_2"), None, ()),
        (
            ("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", "a.example.com", "-alpn", "acme-tls/1"),
            "a.example.com",
            (b"acme-tls/1",),
        ),
        (
            (
                "openssl",
                "s_client",
                "-connect",
                "127.0.0.1:{port}",
                "-servername",
                "a.example.com",
                "-split_send_frag",
                "512",
                "-max_send_frag",
                "512",
            ),
            "a.example.com",
            (),
        ),
        (
            ("curl", "-sk", "--connect-to", "::127.0.0.1:{port}", "https://shop.example.com/"),
            "shop.example.com",
            (b"h2", b"http/1.1"),
        ),
        (
            ("curl", "-sk", "--http1.1", "--connect-to", "::127.0.0.1:{port}", "https://shop.example.com./"),
            "shop.example.com",
            (b"http/1.1",),
        ),
        (("curl", "-sk", "https://127.0.0.1:{port}/"), None, (b"h2", b"http/1.1")),
    ],
)
def test_reads_hellos_of_openssl_and_curl_as_openssl_does(
    command: tuple[str, ...], name: str | None, protocols: tuple[bytes, ...]
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    data = first_bytes(*command)
    found = parse(data, LIMIT)
    assert found is not None
    assert found.server_name == name
    assert found.alpn == protocols
    seen = hellos.name_seen_by_openssl(data)
    assert name == (None if seen is None else seen.lower().removesuffix("."))


def test_what_is_known_by_its_bytes_has_a_bound():
    for number in range(hello.KNOWN + 50):
        short, long = b"".join(bytes((number >> 8, number & 255, 3)) for _ in range(2)), bytes(1000) + number.to_bytes(2, "big")
        assert len(hello._numbers(len(short).to_bytes(2, "big") + short, 2, "x")) == 3
        assert len(hello._numbers(len(long).to_bytes(2, "big") + long, 2, "x")) == 501
    kept = hello._known_numbers.cache_info()
    assert kept.currsize <= hello.KNOWN == kept.maxsize
    before = hello._known_protocols.cache_info().currsize
    protocols = b"".join(b"\xff" + bytes(255) for _ in range(4))
    assert len(hello._protocols(len(protocols).to_bytes(2, "big") + protocols)) == 4
    assert hello._known_protocols.cache_info().currsize == before
