"""How visitors are served: where the edge listens, HTTP, TLS, and how long each thing may take."""

from __future__ import annotations

from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration


class Listen(Section, frozen=True):
    """Where the edge listens."""

    https: tuple[str, ...] = ("0.0.0.0:443", "[::]:443")
    """Addresses for TLS, "HOST:PORT"."""

    http: tuple[str, ...] = ("0.0.0.0:80", "[::]:80")
    """Addresses for plain HTTP: ACME challenges and redirects to https, nothing else."""

    proxy_protocol: tuple[str, ...] = ()
    """CIDRs of load balancers that send the PROXY protocol, version 1 or 2, on all ports. The address that it names is the
    client's everywhere: in limits, the access log, forwarding headers and for the gate. Connections from here that do not
    begin with it are closed, so health checks have to send it too (LOCAL will do); from elsewhere it is never believed."""

    trusted_proxies: tuple[str, ...] = ()
    """CIDRs whose x-forwarded-*, forwarded and x-request-id headers are believed and extended."""

    public_https_port: int = 443
    """The port that visitors use for https, for redirects from http."""


class Http(Section, frozen=True):
    """HTTP towards visitors."""

    h2: bool = True
    """Whether HTTP/2 is offered."""

    headers: tuple[str, ...] = ()
    """Header fields that answers get where the origin's have none of that name, like "x-content-type-options: nosniff" or
    "referrer-policy: strict-origin-when-cross-origin". To have one go before the origin's, write its name in remove_headers
    too. A domain's own (policies.headers) go before these. Strict-Transport-Security is tls.hsts."""

    remove_headers: tuple[str, ...] = ()
    """Names of header fields that are taken out of origins' answers, like "server" and "x-powered-by", which tell strangers
    what runs there."""

    allow: tuple[str, ...] = ()
    """CIDRs. Where there are any, only clients of these are answered; others get 403. A domain's own list (policies.allow)
    counts instead of this one. Behind listen.trusted_proxies the client is whom they name. Port 80 redirects everybody."""

    deny: tuple[str, ...] = ()
    """CIDRs whose clients get 403, whatever else admits them. A domain's own list (policies.deny) counts beside this one."""


class Tls(Section, frozen=True):
    """TLS towards visitors."""

    minimum: Literal["1.2", "1.3"] = "1.2"
    """The oldest version accepted."""

    hsts: str = ""
    """For how long browsers are to come by https alone, like "365d": Strict-Transport-Security, for every site that is in good
    order and has been served under a certificate for hsts_after. A browser cannot be talked out of it before that time is
    over, so begin with "1d". A domain has its own with policies.hsts, which may include subdomains. Empty: nothing is said."""

    hsts_after: Duration = Duration(7 * 86400)
    """How long a name is served under its certificates before hsts is said of it: who finds that something is missing turns
    back to http in the first days, and must not leave visitors behind who cannot follow."""

    default_hostname: str = ""
    """The name served to clients that send no SNI. Empty: they are refused."""

    key_type: Literal["p256", "p384", "rsa2048", "rsa3072", "rsa4096"] = "p256"
    """The kind of key for new certificates."""

    second_key_type: Literal["", "rsa2048", "rsa3072", "rsa4096"] = ""
    """Beside each certificate that the edge obtains with an ECDSA key another one with an RSA key, for clients that know no
    ECDSA; all others are served under the first. Costs an order more for each name. Empty: none."""


class Timeouts(Section, frozen=True):
    """How long each thing may take."""

    handshake: Duration = Duration(10)
    """From a connection's first byte expected to the end of its TLS handshake."""

    client_header: Duration = Duration(15)
    """From a request's first byte to the end of its head."""

    client_body: Duration = Duration(30)
    """How long a client may send nothing of a request's body, once it has been as fast as `limits.client_rate`."""

    idle: Duration = Duration(75)
    """A client connection without a request."""

    write: Duration = Duration(60)
    """A client that takes nothing of what is sent, or less than `limits.client_rate`."""

    origin_connect: Duration = Duration(5)
    """Connecting to the origin, its TLS handshake included, and waiting for a free place."""

    origin_response: Duration = Duration(60)
    """From the request's end to the origin's first byte, and between two reads of its answer."""

    origin_idle: Duration = Duration(55)
    """An idle connection to the origin. Keep it shorter than the origin's own."""

    origin_retry: Duration = Duration(5)
    """Between two attempts at an origin that is left alone (`limits.origin_failures`). It doubles with each that fails, up to a
    minute."""

    tunnel_idle: Duration = Duration(3600)
    """A WebSocket on which nothing is said."""

    drain: Duration = Duration(30)
    """How long open requests may take to end when a process is stopped or replaced."""
