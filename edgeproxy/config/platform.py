"""The platform that is served: its names, its origin, and the API under a public name."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section


class Api(Section, frozen=True):
    """The HTTP API under a public name."""

    hostname: str = ""
    """The name under which the edge serves its API over TLS, with a certificate that it obtains itself. Every request needs a
    token (`edgeproxy tokens create`). Reserved, so that no customer can have it. Empty: the API is only on the admin socket."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the API from a browser (CORS), like "https://app.example.com"; "*": any. A page
    should get a token for one domain only (`domain:read`)."""


class Platform(Section, frozen=True):
    """The platform that this edge serves."""

    name: str = ""
    """The platform's own domain. `<workspace>.<name>` then works without registration, under one wildcard certificate."""

    cname_target: str = ""
    """What customers point their CNAME at."""

    addresses: tuple[str, ...] = ()
    """Public A and AAAA addresses of this edge, for apex names."""

    reserved: tuple[str, ...] = ("www", "api", "mail")
    """Labels under `name` that are never workspaces. `cname_target` and `api.hostname` never are."""


class Origin(Section, frozen=True):
    """The platform's origin, where requests go unless a domain has its own."""

    url: str = "http://127.0.0.1:3000"
    """`http://HOST:PORT`, `https://HOST[:PORT]` (verified) or `unix:/path`."""

    ca_bundle: str = ""
    """A PEM file with the roots that https origins are verified against. Empty: the system's."""

    client_certificate: str = ""
    """The edge's own certificate for `url` by https, as "file:/PATH": the chain in PEM, the leaf first. Domains' own origins
    never see it. Read anew by `edgeproxy reload`."""

    client_key: str = ""
    """Its private key, as "file:/PATH": PEM without a passphrase, readable by its owner alone."""

    pins: tuple[str, ...] = ()
    """The keys that `url` may have by https: SHA-256 digests of the leaf's public key (SPKI) in base64. With any other key
    requests get 502. The certificate is verified all the same. Have the next key's here too before the origin changes it."""

    proxy_protocol: Literal["", "v1", "v2"] = ""
    """The version of the PROXY protocol with which connections to `url` begin; "": none. Such a connection is one client's, and
    not lent for another's requests: more of them are made. Domains' own origins never get it."""

    allow: tuple[str, ...] = ()
    """CIDRs and names that domains' own origins may point at. Empty: public addresses only. The operator's word here and
    on the admin socket passes. Where a domain is verified, its file and its name servers are asked at these CIDRs too."""

    routing: Literal["header", "subdomain"] = "header"
    """"header": the workspace goes into `origin.header`. "subdomain": also `{workspace}.{origin host}` becomes dial
    target, SNI and Host."""

    header: str = "workspace-id"
    """The header that names the workspace."""

    on_unknown: Literal["reject", "forward"] = "reject"
    """What happens to a request for an admitted name without a workspace: "reject", a 404 page; or
    "forward", the origin without the header."""

    on_error: Literal["reject", "forward"] = "forward"
    """What happens when the map cannot be read and no last answer is known: "reject", 503; or "forward",
    the origin without the header."""

    host: Literal["preserve", "origin"] = "preserve"
    """The Host that the origin sees: "preserve", the visitor's; or "origin", the origin's own."""

    def __repr__(self) -> str:
        return f"Origin(url={self.url!r}, routing={self.routing!r}, host={self.host!r})"
