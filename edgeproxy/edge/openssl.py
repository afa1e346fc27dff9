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
from typing import Final

from edgeproxy.errors import EdgeError

_KINDS: Final = {"p256": 408, "p384": 408, "rsa2048": 6, "rsa3072": 6, "rsa4096": 6}
"""Kinds of keys as OpenSSL numbers them (EVP_PKEY_EC, EVP_PKEY_RSA)."""

_CHAIN_CERTIFICATE: Final = 89  # SSL_CTRL_CHAIN_CERT
_pem = re.compile(rb"-----BEGIN (?:CERTIFICATE|PRIVATE KEY)-----\s([A-Za-z0-9+/=\s]+)-----END").findall


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


def load(context: ssl.SSLContext, chain: bytes, key: bytes, kind: str) -> bool:
    """Gives a context its certificates (PEM, leaf first) and private key (PKCS#8, PEM) of a kind that the caller knows.

    Half of what `load_cert_chain` does is to find that out: OpenSSL 3.0 puts a decoder together for each key, out of those
    for all kinds. False where it did not work: `load_cert_chain` then says why.
    """
    number, certificates, keys = _KINDS.get(kind), _pem(chain), _pem(key)
    if number is None or not certificates or len(keys) != 1:
        return False
    openssl, where = library(), address(context)
    loaded = _certificates(openssl, where, certificates) and _key(openssl, where, base64.b64decode(keys[0]), number)
    if not loaded:
        openssl.ERR_clear_error()  # or the next call of ssl's would find what this one left
    return loaded


def _certificates(openssl: ctypes.CDLL, where: int | None, certificates: list[bytes]) -> bool:
    leaf, *others = map(base64.b64decode, certificates)
    if openssl.SSL_CTX_use_certificate_ASN1(where, len(leaf), leaf) != 1:
        return False
    for each in others:
        certificate = openssl.d2i_X509(None, ctypes.byref(ctypes.c_char_p(each)), len(each))
        if not certificate:
            return False
        if openssl.SSL_CTX_ctrl(where, _CHAIN_CERTIFICATE, 0, certificate) != 1:
            openssl.X509_free(certificate)
            return False
    return True


def _key(openssl: ctypes.CDLL, where: int | None, key: bytes, number: int) -> bool:
    private = openssl.d2i_PrivateKey(number, None, ctypes.byref(ctypes.c_char_p(key)), len(key))
    if not private:
        return False
    taken = openssl.SSL_CTX_use_PrivateKey(where, private)
    openssl.EVP_PKEY_free(private)
    # One of another kind than the certificate's would be taken, and wait for a certificate of its own.
    belongs: bool = taken == 1 and openssl.SSL_CTX_check_private_key(where) == 1
    return belongs
