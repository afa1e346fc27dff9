"""The configuration, as frozen structs. A field's docstring is the operator's manual for it.

`config/edgeproxy.toml`, the documented sample, is generated from this file. Unknown keys are errors. What a key
means belongs here; whether values fit together is decided in `check.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgeproxy.config.entitlement import Entitlement
from edgeproxy.config.mail import Mail
from edgeproxy.config.pages import Page
from edgeproxy.config.section import Section
from edgeproxy.limits import Limits
from edgeproxy.units import Duration, Size


class Listen(Section, frozen=True):
    """Where the edge listens."""

    https: tuple[str, ...] = ("0.0.0.0:443", "[::]:443")
    """Addresses for TLS, "HOST:PORT"."""

    http: tuple[str, ...] = ("0.0.0.0:80", "[::]:80")
    """Addresses for plain HTTP: ACME challenges and redirects to https, nothing else."""

    proxy_protocol: tuple[str, ...] = ()
    """CIDRs that may send PROXY protocol v1 or v2. Not built yet: anything but an empty list is refused."""

    trusted_proxies: tuple[str, ...] = ()
    """CIDRs whose x-forwarded-*, forwarded and x-request-id headers are believed and extended."""

    public_https_port: int = 443
    """The port that visitors use for https, for redirects from http."""


class Process(Section, frozen=True):
    """As whom the processes run."""

    user: str = ""
    """Whom the controller becomes when the program is started as root. Empty: it stays, with a warning."""

    worker_user: str = ""
    """Whom the workers become. Empty: the same as `user`."""

    group: str = ""
    """The group of the admin socket and of the published map. Empty: the user's own."""


class State(Section, frozen=True):
    """Where the edge keeps what must survive a restart."""

    directory: str = "/var/lib/edgeproxy"
    """Database, published map, internal CA."""

    key: str = ""
    """The root of all keys at rest: the key itself (64 hex digits), or "file:PATH". A missing file is made on the first
    start only, mode 0600. Empty: `state.key` in the state directory. Keep a copy elsewhere: without it every private key
    is lost."""

    def __repr__(self) -> str:
        return f"State(directory={self.directory!r})"


class Store(Section, frozen=True):
    """The database."""

    url: str = "sqlite:///edgeproxy.db"
    """`sqlite:///FILE`, relative to `state.directory`. PostgreSQL comes with clusters and is refused until then."""


class Workers(Section, frozen=True):
    """The data plane's processes."""

    count: int = 0
    """0: one per core."""


class Admin(Section, frozen=True):
    """The admin socket."""

    socket: str = "/run/edgeproxy/admin.sock"
    """Unix socket for the CLI and for `curl --unix-socket`: mode 0660, open to root, the service's user and members of
    its group. Beside it is api.sock, open to the edge's workers alone, who bring there what comes for `api.hostname`."""

    @property
    def api_socket(self) -> str:
        """The path of that one."""
        return str(Path(self.socket).absolute().with_name("api.sock"))


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


class Eab(Section, frozen=True):
    """External account binding, where the CA asks for it."""

    key_id: str = ""
    """The key id that the CA gave you."""

    hmac_key: str = ""
    """The HMAC key that the CA gave you, base64url; better "file:PATH" of a file that only the service's user can read."""

    fallback: tuple[str, ...] = ()
    """The same for directories of `issuance.fallback`: for each that asks for it "DIRECTORY KEY_ID HMAC_KEY"; better
    "file:PATH" of a file that holds those three."""

    def __repr__(self) -> str:
        return f"Eab(key_id={self.key_id!r})"


class Allow(Section, frozen=True):
    """Which names may have a certificate. Any rule that says yes is enough."""

    registered: bool = True
    """Registered domains, verified or later."""

    patterns: tuple[str, ...] = ()
    """Names by pattern: "*.customers.example" admits one label below it."""

    gate: str = ""
    """A URL that is asked: GET {gate}?domain=NAME&client_ip=IP. 2xx allows, 4xx denies, anything else is "not now". A 2xx
    with JSON {"workspace_id": …, "origin"?: …} also routes the name, for as long as its Cache-Control says."""

    gate_timeout: Duration = Duration(2)
    """How long the gate may take."""

    gate_ttl: Duration = Duration(300)
    """How long an answer counts that has no Cache-Control."""


class Shares(Section, frozen=True):
    """How the orders of a window are divided, in percent; together 100. What one kind leaves the others may use, but for a
    quarter of each share, which is kept for its own kind."""

    new: int = 60
    """Names that never had a certificate."""

    renewals: int = 30
    """Certificates that are to be replaced before they expire."""

    retries: int = 10
    """Names that failed before."""


class Budget(Section, frozen=True):
    """The CA's limits, which the edge keeps by itself: what cannot be afforded now waits for its turn and does not fail.
    The defaults are those of Let's Encrypt. 0 orders, certificates, failures or duplicates: no such limit. The built-in CA
    has none."""

    orders: int = 300
    """New orders of the account in each `orders_window`."""

    orders_window: Duration = Duration(3 * 3600)
    """The time in which `orders` are counted."""

    burst: int = 100
    """Orders that may follow each other at once. The others of a window are spread over it, so that a visitor who comes
    late finds something left."""

    certificates: int = 50
    """Certificates for all names of one registered domain (a name under a public suffix, like example.co.uk) in each
    `certificates_window`."""

    certificates_window: Duration = Duration(7 * 86400)
    """The time in which `certificates` are counted."""

    failures: int = 5
    """Failed validations of one name in each `failures_window`."""

    failures_window: Duration = Duration(3600)
    """The time in which `failures` are counted."""

    duplicates: int = 5
    """Certificates for exactly the same name in each `duplicates_window`."""

    duplicates_window: Duration = Duration(7 * 86400)
    """The time in which `duplicates` are counted."""

    exempt: Literal["replaces", "renewals", "none"] = "replaces"
    """What the CA does not count. "replaces": nothing of renewals that name the certificate which they replace (RFC 9773),
    where the CA has that; no renewal among the `certificates` of its domain. "renewals": besides, no renewal among the
    `orders`. "none": everything counts."""

    shares: Shares = Shares()


class Issuance(Section, frozen=True):
    """Where certificates come from."""

    directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    """The ACME directory, or "internal" for the built-in CA."""

    fallback: tuple[str, ...] = ()
    """Further ACME directories, most preferred first. An order goes to one where those before it fail by their own fault, or
    where a CAA record of the name, or a CA's policy, forbids them. `agree_terms`, `email`, `ca_bundle` and `budget` count for
    all of them, each with an account and a count of its own."""

    ca_bundle: str = ""
    """A PEM file with the root of a private ACME server's own TLS certificate."""

    email: str = ""
    """Contact of the ACME account."""

    agree_terms: bool = False
    """Whether you agree to the CA's terms of service. An ACME directory needs true."""

    profile: str = ""
    """The CA's certificate profile, where it has several: "shortlived", for instance. Orders fail where `directory` does not
    offer it; a fallback that does not is asked without."""

    preferred_chain: str = ""
    """Where the CA offers several chains for a certificate, the one whose last certificate was issued by a root with this
    common name: "ISRG Root X1". Its usual chain where it offers none."""

    challenges: tuple[str, ...] = ("tls-alpn-01", "http-01", "dns-01")
    """Challenges, most preferred first: "tls-alpn-01", "http-01", "dns-01", "dns-persist-01". One that cannot be used for a
    name, or fails, gives way to the next; a renewal begins with what worked last for its name."""

    eab: Eab = Eab()

    on_demand: bool = True
    """Whether a handshake for an admitted name without a certificate obtains one."""

    handshake_wait: Duration = Duration(30)
    """How long such a handshake may wait. `timeouts.handshake` pauses meanwhile."""

    park_after: Duration = Duration(7 * 86400)
    """Where `platform.cname_target` or `platform.addresses` is set, the DNS is asked before a certificate is renewed. A name
    that points elsewhere is not tried; after this time an event (certificate.parked) tells of it. It is looked at hourly, and
    renewed when it points here again, or has had visitors within a day: a CDN may stand before it."""

    allow: Allow = Allow()

    budget: Budget = Budget()


class Verification(Section, frozen=True):
    """How customers' domains are verified, looked after and removed. Not those that were added on the operator's word."""

    preset: Literal["accept", "prove"] = "accept"
    """What a name proves that pointed here before it was registered. "accept": whose it is, unless somebody else had it here
    before. "prove": nothing; its owner sets a TXT record, or a CNAME to the workspace's own target. Take that where customers
    of your platform cannot be trusted not to register each other's names."""

    give_up_after: Duration = Duration(7 * 86400)
    """How long a domain is looked at that does not verify: every 2 s in the first minute, then less and less, at least every
    5 minutes. Then it is parked, until somebody asks for it."""

    look_again: Duration = Duration(3600)
    """How often an active domain is looked at: its records, and whether visitors get its certificate."""

    forget_after: Duration = Duration(30 * 86400)
    """A parked domain that was never verified is removed after this time."""

    undo: Duration = Duration(86400)
    """How long a removed domain can be brought back. It is refused at once; its keys are destroyed after this time."""

    revoke_removed: bool = False
    """Whether the certificates of removed domains are revoked then, before their keys are destroyed."""

    visitors_address: str = ""
    """Where visitors arrive, "ADDRESS:PORT" or "NAME:PORT": a load balancer before this edge, for instance. A domain is
    called active once a handshake there brought its certificate. Empty: this machine's own listener."""


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


class Endpoint(Section, frozen=True):
    """An endpoint of webhooks; one table for each, with the secret in a file of its own. Others are added while the edge runs:
    `edgeproxy webhooks add`."""

    url: str = ""
    """Where its events are sent: "https://HOST/PATH", or http. The operator's word: private addresses too."""

    secret: str = ""
    """What events are signed with, as Standard Webhooks has it: "whsec_" and the base64 of 24 to 64 random bytes; better
    "file:PATH"."""

    events: tuple[str, ...] = ()
    """Which events it gets: "domain.verified", "domain.*", "certificate.*", "*". Empty: all."""

    label: str = ""
    """What `edgeproxy webhooks list` and faults call it. Empty: its url."""

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, events={self.events!r}, label={self.label!r})"


class Webhooks(Section, frozen=True):
    """Events that are sent to the platform by HTTP POST, signed as Standard Webhooks has it."""

    allow: tuple[str, ...] = ()
    """CIDRs and names that endpoints added by the API may point at beside public addresses. Endpoints of this file may point
    anywhere."""

    endpoints: tuple[Endpoint, ...] = ()
    """Endpoints, each in a table of its own."""


class Http(Section, frozen=True):
    """HTTP towards visitors."""

    h2: bool = True
    """Whether HTTP/2 is offered."""


class Tls(Section, frozen=True):
    """TLS towards visitors."""

    minimum: Literal["1.2", "1.3"] = "1.2"
    """The oldest version accepted."""

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
    """Between two reads of a request's body."""

    idle: Duration = Duration(75)
    """A client connection without a request."""

    write: Duration = Duration(60)
    """A client that takes nothing of what is sent."""

    origin_connect: Duration = Duration(5)
    """Connecting to the origin, its TLS handshake included, and waiting for a free place."""

    origin_response: Duration = Duration(60)
    """From the request's end to the origin's first byte, and between two reads of its answer."""

    origin_idle: Duration = Duration(55)
    """An idle connection to the origin. Keep it shorter than the origin's own."""

    tunnel_idle: Duration = Duration(3600)
    """A WebSocket on which nothing is said."""

    drain: Duration = Duration(30)
    """How long open requests may take to end when a process is stopped or replaced."""


class Pages(Section, frozen=True):
    """Pages of your own for visitors of a domain whose origin is not asked: HTML files, up to 256 KiB each, which are read when
    the edge starts or reloads. {{host}} in one is the name that was asked for, {{request_id}} the id in the access log.
    Programs that ask for JSON get a problem document instead."""

    maintenance: Page = Page("")
    """The file shown, with status 503, where a domain's `maintenance` is on. Empty: a page of the edge's own."""

    suspended: Page = Page("")
    """The file shown, with status 403, for a domain that is suspended. Empty: a page of the edge's own."""

    setup: Page = Page("")
    """The file shown, with status 503, for a domain that was verified and is not active yet. A browser looks again after 10 s.
    Empty: a page of the edge's own."""

    setup_until_active: bool = False
    """When `setup` is shown. false: only where the origin does not answer; a domain whose origin does is served as soon as
    it is verified. true: to every visitor until the domain is active. Domains that the operator adds without verification are
    always served."""


class Log(Section, frozen=True):
    """Logs."""

    access: str = "stdout"
    """Where the access log goes: "stdout", a path, or "off"."""

    format: Literal["auto", "json", "combined"] = "auto"
    """"auto": readable on a terminal, else JSON. "json": always. "combined": the access log in the format that Apache and
    nginx call so, the rest as with "auto"."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe message of the program's own log."""


class Metrics(Section, frozen=True):
    """Prometheus metrics."""

    listen: str = ""
    """"127.0.0.1:9180": where /metrics, /healthz and /readyz are served too. Empty: only on the admin socket."""

    top: int = 100
    """Per-hostname and per-workspace series are kept for this many of the busiest."""


class Alerts(Section, frozen=True):
    """What people are told when something is wrong: once, and once when it is over."""

    notify: tuple[str, ...] = ()
    """Whom to tell, as URLs of apprise (appriseit.com): "mailtos://…", "slack://…", "pagerduty://…", "json://…". They hold
    secrets: better "file:PATH" for each. Needs apprise: pip install apprise. Empty: nobody is told."""

    origin_errors: int = 20
    """Percent of the requests of five minutes without an answer of their origin, from which that is told; at least 20."""

    shed: int = 100
    """Connections a minute that are closed because there are too many, from which that is told."""

    waiting: int = 1_000
    """Names waiting for their turn at the CA from which that is told."""

    def __repr__(self) -> str:
        return f"Alerts({len(self.notify)} to notify)"


class Config(Section, frozen=True):
    """The whole configuration."""

    listen: Listen = Listen()
    process: Process = Process()
    state: State = State()
    store: Store = Store()
    workers: Workers = Workers()
    admin: Admin = Admin()
    api: Api = Api()
    platform: Platform = Platform()
    origin: Origin = Origin()
    issuance: Issuance = Issuance()
    dns: Dns = Dns()
    webhooks: Webhooks = Webhooks()
    entitlement: Entitlement = Entitlement()
    mail: Mail = Mail()
    verification: Verification = Verification()
    http: Http = Http()
    tls: Tls = Tls()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    pages: Pages = Pages()
    log: Log = Log()
    metrics: Metrics = Metrics()
    alerts: Alerts = Alerts()


__all__ = ["Config", "Duration", "Entitlement", "Mail", "Section", "Size"]
