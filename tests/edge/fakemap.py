"""A published map of plain dicts for tests of what looks into one, and the visitor's side of a handshake."""

from __future__ import annotations

import ssl

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.edge import tickets
from edgeproxy.edge.certificate import Certificates, Cold, Found
from edgeproxy.errors import MapError
from edgeproxy.published.records import Certificate, Challenge, Change, Companion, Site, Tickets
from tests import hellos
from tests.certificates import self_signed

NOW = 1_800_000_000.0


class FakeMap:
    """The published map as plain dicts; counts what is asked, and fails on command."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.certificates: dict[str, Certificate] = {}
        self.challenges: dict[str, Challenge] = {}
        self.secrets: Tickets | None = None
        self.broken = False
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.broken:
            raise MapError("The map can not be read.")

    def site(self, hostname: str) -> Site | None:
        self._ask()
        return self.sites.get(hostname)

    def certificate(self, certificate_id: str) -> Certificate | None:
        self._ask()
        return self.certificates.get(certificate_id)

    def challenge(self, key: str) -> Challenge | None:
        self._ask()
        return self.challenges.get(key)

    def tickets(self) -> Tickets | None:
        self._ask()
        return self.secrets

    def serve(self, key: str, certificate_id: str, *names: str) -> None:
        """A site under `key` whose certificate covers the names (by default the key)."""
        chain, private = self_signed(*(names or (key,)))
        self.certificates[certificate_id] = Certificate(
            names=names or (key,), chain=chain, sealed_key=seal(private, f"key:{certificate_id}"), not_before=0, not_after=2e9
        )
        self.sites[key] = Site(workspace="w", certificate=certificate_id)

    def accompany(self, certificate_id: str, companion_id: str) -> None:
        """A certificate with an RSA key beside a certificate."""
        beside = self.certificates[certificate_id]
        chain, private = self_signed(*beside.names, kind="rsa2048")
        sealed = seal(private, f"key:{companion_id}")
        companion = Companion(id=companion_id, chain=chain, sealed_key=sealed, not_before=0, not_after=2e9)
        self.certificates[certificate_id] = msgspec.structs.replace(beside, companion=companion, key_type="p256")


def seal(plain: bytes, context: str) -> bytes:
    """What FakeSealer opens under this context."""
    return context.encode() + b"\0" + plain


class FakeSealer:
    """Opens what `seal` made, under the same context only."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        found, _, plain = sealed.partition(b"\0")
        if found != context:
            raise MapError("A sealed secret does not open.", retryable=False)
        return plain


def presented(context: ssl.SSLContext, hostname: str, *, alpn: tuple[str, ...] = (), version: str = "") -> ssl.SSLObject:
    """The client's end of a handshake with a context."""
    visitor = hellos.client_context()
    if alpn:
        visitor.set_alpn_protocols(alpn)
    if version:
        visitor.minimum_version = visitor.maximum_version = getattr(ssl.TLSVersion, version)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = visitor.wrap_bio(to_client, to_server, server_hostname=hostname)
    there = context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [here, there]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return here


def leaf(*names: str, **how: str) -> bytes:
    """The certificate that `self_signed` makes, DER."""
    return ssl.PEM_cert_to_DER_cert(self_signed(*names, **how)[0].decode())


NOT_SHARED, SHARED = False, True


def certificates(published: FakeMap, config: Config | None = None, *, share: bool = NOT_SHARED) -> Certificates:
    return Certificates(published, FakeSealer(), config or Config(), share_tickets=share)


def made(found: object, holder: Certificates, now: float = NOW) -> Found:
    assert isinstance(found, Cold)
    return holder.build(found, now)


def resumes(one: Found, other: Found, version: str = "TLSv1_3") -> bool:
    visitor = hellos.client_context()
    visitor.minimum_version = visitor.maximum_version = getattr(ssl.TLSVersion, version)
    session, _ = tickets.handshake(one.context, visitor, None)
    return tickets.handshake(other.context, visitor, session)[1]


def site_changed(*keys: str) -> list[Change]:
    return [Change(database="sites", key=key) for key in keys]
