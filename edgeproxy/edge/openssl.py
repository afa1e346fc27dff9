"""What Python's ssl does not offer of the OpenSSL that it uses itself, called through ctypes.

The address of an SSL_CTX is the first field behind the header of the context object, as in every CPython so far. On an
interpreter laid out otherwise, reading it is undefined behaviour: therefore nothing here is called but where `tickets.trial`
ended well, which does it first in a child process, with real handshakes.
"""

from __future__ import annotations

import base64
import ctypes
import functools
import re
import ssl
import sys
import threading
from collections import OrderedDict
from typing import Final, NamedTuple

from edgeproxy.errors import EdgeError

_KINDS: Final = {"p256": 408, "p384": 408, "rsa2048": 6, "rsa3072": 6, "rsa4096": 6}
"""Kinds of keys as OpenSSL numbers them (EVP_PKEY_EC, EVP_PKEY_RSA)."""

_CHAIN_CERTIFICATE: Final = 89  # SSL_CTRL_CHAIN_CERT
_SHARED: Final = 1  # what keeps a reference of its own: SSL_CTX_add1_chain_cert

ISSUERS: Final = 32
"""Issuers' certificates that are kept read, each some KB. An authority has a handful that it uses for a year or more."""

_KEYPAIR: Final = 0x87  # EVP_PKEY_KEYPAIR
_UNSIGNED, _TEXT, _OCTETS = 2, 4, 5  # OSSL_PARAM_UNSIGNED_INTEGER, _UTF8_STRING, _OCTET_STRING
_pem = re.compile(rb"-----BEGIN (?:CERTIFICATE|PRIVATE KEY)-----\s([A-Za-z0-9+/=\s]+)-----END").findall


class _Curve(NamedTuple):
    """How a key of a kind is written in PKCS#8: a head, the private key, what is between, the public key."""

    group: bytes
    size: int
    """Bytes of the private key."""
    head: bytes
    between: bytes


_CURVES: Final = {
    "p256": _Curve(
        b"prime256v1",
        32,
        bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420"),
        bytes.fromhex("a144034200"),
    ),
    "p384": _Curve(
        b"secp384r1",
        48,
        bytes.fromhex("3081b6020100301006072a8648ce3d020106052b8104002204819e30819b0201010430"),
        bytes.fromhex("a164036200"),
    ),
}


class OpenSslUnreachable(EdgeError):
    """The OpenSSL that this Python's ssl uses cannot be called but through it."""

    code = "openssl_unreachable"


def address(context: ssl.SSLContext) -> int | None:
    """Where the SSL_CTX is."""
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value


@functools.cache
def library() -> ctypes.CDLL:
    """The library, with what is used of it declared. Raises OpenSslUnreachable."""
    import _ssl

    path = getattr(_ssl, "__file__", None)
    if path is None:  # built into the interpreter: no telling which OpenSSL a symbol found elsewhere belongs to
        raise OpenSslUnreachable("Python's ssl module is built into the interpreter, so its OpenSSL can not be reached.")
    pointer, number, size, data = ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.POINTER(ctypes.c_char_p)
    try:
        found = ctypes.CDLL(path)
        for function, result, arguments in (
            (found.SSL_CTX_ctrl, size, (pointer, number, size, pointer)),
            (found.SSL_CTX_use_certificate_ASN1, number, (pointer, number, ctypes.c_char_p)),
            (found.SSL_CTX_use_PrivateKey, number, (pointer, pointer)),
            (found.SSL_CTX_check_private_key, number, (pointer,)),
            (found.d2i_PrivateKey, pointer, (number, pointer, data, size)),
            (found.d2i_X509, pointer, (pointer, data, size)),
            (found.EVP_PKEY_free, None, (pointer,)),
            (found.X509_free, None, (pointer,)),
            (found.ERR_clear_error, None, ()),
        ):
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise OpenSslUnreachable(f"Python's OpenSSL does not offer what is needed: {error}.") from None
    return found


class _Param(ctypes.Structure):
    """OSSL_PARAM."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("size", ctypes.c_size_t),
        ("returned", ctypes.c_size_t),
    )


@functools.cache
def _from_parts() -> ctypes.CDLL | None:
    """The library, where it can make a key of its numbers, which OpenSSL can from 3.0 on."""
    pointer, number = ctypes.c_void_p, ctypes.c_int
    found = library()
    try:
        for function, result, arguments in (
            (found.EVP_PKEY_CTX_new_from_name, pointer, (pointer, ctypes.c_char_p, ctypes.c_char_p)),
            (found.EVP_PKEY_CTX_free, None, (pointer,)),
            (found.EVP_PKEY_fromdata_init, number, (pointer,)),
            (found.EVP_PKEY_fromdata, number, (pointer, pointer, number, pointer)),
        ):
            function.restype, function.argtypes = result, arguments
    except AttributeError:
        return None
    return found


class _Issuers:
    """Certificates of issuers as OpenSSL has them, most recently used last: all names of a platform have the same few, and
    reading one takes 150 µs."""

    def __init__(self, bound: int = ISSUERS) -> None:
        self._bound = bound
        self._read: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._read)

    def add(self, openssl: ctypes.CDLL, where: int | None, certificate: bytes) -> bool:
        """Appends one (base64 of its DER) to a context's chain. Any thread: what is taken out by one may just be given to a
        context by the other, hence the lock."""
        with self._lock:
            read = self._read.get(certificate)
            if read is None:
                encoded = base64.b64decode(certificate)
                read = openssl.d2i_X509(None, ctypes.byref(ctypes.c_char_p(encoded)), len(encoded))
                if not read:
                    return False
                self._read[certificate] = read
                if len(self._read) > self._bound:
                    openssl.X509_free(self._read.popitem(last=False)[1])  # contexts that have it keep it
            else:
                self._read.move_to_end(certificate)
            taken: bool = openssl.SSL_CTX_ctrl(where, _CHAIN_CERTIFICATE, _SHARED, read) == 1
            return taken


_issuers = _Issuers()


def load(context: ssl.SSLContext, chain: bytes, key: bytes, kind: str) -> bool:
    """Gives a context its certificates (PEM, leaf first) and private key (PKCS#8, PEM) of a kind that the caller knows.

    Half of what `load_cert_chain` does is to find that out: OpenSSL 3.0 puts a decoder together for each key, out of those
    for all kinds. False where it did not work: `load_cert_chain` then says why.
    """
    number, certificates, keys = _KINDS.get(kind), _pem(chain), _pem(key)
    if number is None or not certificates or len(keys) != 1:
        return False
    openssl, where = library(), address(context)
    loaded = _certificates(openssl, where, certificates) and _key(openssl, where, base64.b64decode(keys[0]), number, kind)
    if not loaded:
        openssl.ERR_clear_error()  # or the next call of ssl's would find what this one left
    return loaded


def _certificates(openssl: ctypes.CDLL, where: int | None, certificates: list[bytes]) -> bool:
    leaf, *others = base64.b64decode(certificates[0]), *certificates[1:]
    if openssl.SSL_CTX_use_certificate_ASN1(where, len(leaf), leaf) != 1:
        return False
    return all(_issuers.add(openssl, where, each) for each in others)


def _key(openssl: ctypes.CDLL, where: int | None, key: bytes, number: int, kind: str) -> bool:
    private = _of_curve(key, kind) or openssl.d2i_PrivateKey(number, None, ctypes.byref(ctypes.c_char_p(key)), len(key))
    if not private:
        return False
    taken = openssl.SSL_CTX_use_PrivateKey(where, private)
    openssl.EVP_PKEY_free(private)
    # One of another kind than the certificate's would be taken, and wait for a certificate of its own.
    belongs: bool = taken == 1 and openssl.SSL_CTX_check_private_key(where) == 1
    return belongs


def _of_curve(key: bytes, kind: str) -> int | None:
    """An elliptic curve's key (PKCS#8, DER) made of its numbers: 35 µs, where OpenSSL 3.0's decoders take 160. None where it is
    of another kind or written otherwise than this program's keys are: those decoders then read it."""
    curve, openssl = _CURVES.get(kind), _from_parts()
    if curve is None or openssl is None:
        return None
    group, size, head, between = curve
    public = len(head) + size + len(between)
    if len(key) != public + 1 + 2 * size or not key.startswith(head) or key[public - len(between) : public] != between:
        return None
    private = int.from_bytes(key[len(head) : len(head) + size], "big").to_bytes(size, sys.byteorder)
    parameters = (_Param * 4)(
        _Param(b"group", _TEXT, group, len(group)),
        _Param(b"priv", _UNSIGNED, private, size),
        _Param(b"pub", _OCTETS, key[public:], 1 + 2 * size),
        _Param(),
    )
    maker, made = openssl.EVP_PKEY_CTX_new_from_name(None, b"EC", None), ctypes.c_void_p()
    if not maker:
        return None
    try:
        if openssl.EVP_PKEY_fromdata_init(maker) == 1:
            openssl.EVP_PKEY_fromdata(maker, ctypes.byref(made), _KEYPAIR, parameters)
    finally:
        openssl.EVP_PKEY_CTX_free(maker)
    return made.value
