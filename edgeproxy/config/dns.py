"""DNS: whom the edge asks, what it answers itself, and where it writes records."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section


class Rfc2136(Section, frozen=True):
    """Where DNS-01's records are written by dynamic updates (RFC 2136), signed with TSIG (RFC 8945)."""

    server: str = ""
    """The zone's primary server, "ADDRESS:PORT". Empty: no dynamic updates."""

    zone: str = ""
    """The zone that is updated. A name inside it needs nothing more. For any other name its owner sets the CNAME
    `_acme-challenge.HOST` to `<label>.<zone>`; `edgeproxy certs issue HOST` says which."""

    key_name: str = ""
    """The name of the TSIG key, as the server knows it."""

    key_secret: str = ""
    """The key's secret in base64; better "file:PATH"."""

    algorithm: Literal["hmac-sha256", "hmac-sha224", "hmac-sha384", "hmac-sha512", "hmac-sha1"] = "hmac-sha256"
    """The key's algorithm."""

    def __repr__(self) -> str:
        return f"Rfc2136(server={self.server!r}, zone={self.zone!r}, key_name={self.key_name!r})"


class Dns(Section, frozen=True):
    """DNS: whom we ask, and what we answer."""

    resolvers: tuple[str, ...] = ()
    """Resolvers as "ADDRESS:PORT". Empty: the system's. Asked for CAA records before an order, for CNAMEs before DNS-01, and
    by `edgeproxy doctor`. Where some are given, the CA is told of a DNS record only when each of them has seen it."""

    zone: str = ""
    """The zone that this edge answers itself, for DNS-01: a name of its own like "acme.example.com", which the zone above
    delegates to the edge. Customers point `_acme-challenge.HOST` at a label in it. Empty: none."""

    listen: tuple[str, ...] = ()
    """Where it is answered, over UDP and TCP: "0.0.0.0:53". Resolvers ask at port 53 only."""

    nameservers: tuple[str, ...] = ()
    """The names of the zone's servers, as the zone above has them in its NS records. Empty: `platform.cname_target`, or,
    without that, `ns.<zone>`. Those within the zone have the addresses `platform.addresses`."""

    rfc2136: Rfc2136 = Rfc2136()
