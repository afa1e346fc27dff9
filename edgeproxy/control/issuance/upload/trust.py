"""What this machine can tell of an uploaded certificate beyond its bytes: which roots it trusts, what OpenSSL takes."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from edgeproxy.control.issuance.certificates import Issued
from edgeproxy.control.issuance.upload.chain import Roots
from edgeproxy.errors import InvalidCertificate

log = structlog.get_logger("certificates")

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)
"""Where systems keep the roots that they trust, if OpenSSL's own place has none."""

_MARK = b"-----BEGIN CERTIFICATE-----"


class SystemRoots:
    """The roots of the machine, read when they are first needed and again when their file changes. Blocking."""

    def __init__(self) -> None:
        self._roots = Roots([])
        self._read: tuple[Path, int] | None = None

    def get(self) -> Roots:
        """The roots; none where the machine has none, or not in a file."""
        path = bundle()
        if path is None:
            return Roots([])
        try:
            state = path, path.stat().st_mtime_ns
            if self._read != state:
                self._roots, self._read = Roots(_certificates(path.read_bytes())), state
        except OSError as error:
            log.warning("the machine's roots cannot be read", path=str(path), error=error.strerror)
        return self._roots


def bundle() -> Path | None:
    """The file with the roots that this machine trusts."""
    paths = ssl.get_default_verify_paths()
    for candidate in (os.environ.get(paths.openssl_cafile_env), paths.cafile, *BUNDLES):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    return None


def check_loads(issued: Issued) -> None:
    """Raises InvalidCertificate where OpenSSL, which workers serve with, does not take chain and key. Blocking."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL's loader takes a file: one in memory, so that the key is on no disk.
    file = os.memfd_create("upload", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(file), "wb") as writing:
            writing.write(issued.chain + issued.key)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise InvalidCertificate(
            f"This machine's OpenSSL does not take the certificate ({reason}). Have one made with an ECDSA key on P-256, "
            "signed with SHA-256.",
            code="weak_certificate",
        ) from None
    finally:
        os.close(file)


def _certificates(pem: bytes) -> list[x509.Certificate]:
    """What can be read of a bundle: one odd root of a hundred is no reason to trust none."""
    found = []
    for piece in pem.split(_MARK)[1:]:
        try:
            found.append(x509.load_pem_x509_certificate(_MARK + piece))
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            continue
    return found
