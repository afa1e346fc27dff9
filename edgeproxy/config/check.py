"""Which values of the configuration fit together. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import posixpath
from collections.abc import Iterator
from urllib.parse import urlsplit

from edgeproxy.config import entitlement, identity, mail, nameservers, proving, trying, webhooks
from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One fault: the key where it is shown, what is wrong and what would be right, and which other keys it looks at."""

    key: str
    text: str
    looks_at: tuple[str, ...] = ()


def together(config: Config) -> Iterator[Problem]:
    """Faults of values that are right alone and wrong beside each other."""
    yield from _addresses(config)
    yield from _issuance(config)
    yield from _keys(config)
    yield from (Problem(*each) for each in entitlement.faults(config.entitlement))
    yield from (Problem(*each) for each in mail.faults(config.mail))
    yield from _names(config)
    for faults in (nameservers.faults, proving.faults, trying.faults):
        yield from (Problem(*fault) for fault in faults(config))
    yield from (Problem(*each) for each in webhooks.faults(config.webhooks))
    yield from (Problem(*each) for each in identity.faults(config.origin))
    yield from _sockets(config)
    yield from _origin_fits(config)
    yield from _limits(config)
    yield from _rates(config)
    yield from _compression(config)
    yield from _headers(config)


def _addresses(config: Config) -> Iterator[Problem]:
    if not config.listen.https:
        yield Problem("listen.https", 'the list is empty; the edge needs an address for TLS, like "0.0.0.0:443"')
    taken: list[tuple[str, str, str, int]] = []
    listed = [("listen.https", text) for text in config.listen.https] + [("listen.http", text) for text in config.listen.http]
    listed += [("dns.listen", text) for text in config.dns.listen]
    if config.metrics.listen:
        listed.append(("metrics.listen", config.metrics.listen))
    for key, text in listed:
        host, port = socket_address(text)
        for other_key, other_text, other_host, other_port in taken:
            if port == other_port and _overlap(host, other_host):
                where = "twice" if other_key == key else f"in {other_key} too"
                same = "is there" if other_text == text else f"takes the same port as {other_text!r},"
                yield Problem(key, f"{text!r} {same} {where}; give each an address and port of its own", (other_key,))
                break
        taken.append((key, text, host, port))


def _compression(config: Config) -> Iterator[Problem]:
    for name in ("codings", "types"):
        if config.compression.enabled and not getattr(config.compression, name):
            text = f"without {name} nothing is compressed; write some, leave the line out for those that are usual, or write "
            yield Problem(f"compression.{name}", f"{text}enabled = false", ("compression.enabled",))


def _headers(config: Config) -> Iterator[Problem]:
    names = [line.partition(":")[0] for line in config.http.headers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield Problem("http.headers", f"{twice[0]} is there twice, and answers get it once; write one of the two")


def _overlap(one: str, other: str) -> bool:
    if (":" in one) != (":" in other):
        return False
    return one == other or one in ("0.0.0.0", "::") or other in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _issuance(config: Config) -> Iterator[Problem]:
    issuance = config.issuance
    if issuance.directory != "internal" and not issuance.agree_terms:
        yield Problem(
            "issuance.agree_terms",
            f"certificates come from {issuance.directory}, whose terms of service you have not agreed to; "
            'write agree_terms = true, or directory = "internal" for the built-in CA',
            ("issuance.directory",),
        )
    if len(set(issuance.challenges)) < len(issuance.challenges):
        yield Problem("issuance.challenges", "a challenge is there twice; write each once, most preferred first")
    directories = (issuance.directory, *issuance.fallback)
    if issuance.fallback and issuance.directory == "internal":
        text = "the built-in CA needs no fallback; write an ACME directory, or leave the fallbacks out"
        yield Problem("issuance.fallback", text, ("issuance.directory",))
    if len(set(directories)) < len(directories):
        yield Problem("issuance.fallback", "a directory is there twice; write each once", ("issuance.directory",))
    if strange := [eab.split()[0] for eab in issuance.eab.fallback if eab.split()[0] not in issuance.fallback]:
        text = f"{strange[0]} is none of issuance.fallback; write it there too, or as it stands there"
        yield Problem("issuance.eab.fallback", text, ("issuance.fallback",))
    shares = issuance.budget.shares
    if (together := shares.new + shares.renewals + shares.retries) != 100:
        yield Problem(
            "issuance.budget.shares",
            f"new, renewals and retries are {together} together; write percentages that make 100",
            tuple(f"issuance.budget.shares.{name}" for name in ("new", "renewals", "retries")),
        )
    for have, lack in (("key_id", "hmac_key"), ("hmac_key", "key_id")):
        if getattr(issuance.eab, have) and not getattr(issuance.eab, lack):
            yield Problem(
                f"issuance.eab.{lack}",
                f"{have} is set and {lack} is not; the CA gives both together",
                (f"issuance.eab.{have}",),
            )


def _keys(config: Config) -> Iterator[Problem]:
    if config.tls.second_key_type and config.tls.key_type.startswith("rsa"):
        yield Problem(
            "tls.second_key_type",
            f'every client takes the RSA key of key_type = "{config.tls.key_type}" already; leave second_key_type out, '
            'or write key_type = "p256"',
            ("tls.key_type",),
        )


def _names(config: Config) -> Iterator[Problem]:
    platform = config.platform
    if platform.name and platform.cname_target == platform.name:
        yield Problem(
            "platform.cname_target",
            f'it is the platform\'s own name; give customers a name of its own, like "domain.{platform.name}"',
            ("platform.name",),
        )
    if config.api.cors_origins and not config.api.hostname:
        yield Problem("api.cors_origins", "pages cannot reach an API without a name; set api.hostname", ("api.hostname",))
    if config.api.hostname and config.api.hostname in (platform.name, platform.cname_target):
        yield Problem(
            "api.hostname",
            f"{config.api.hostname!r} is the platform's name or what customers point at; the API needs one of its own, "
            f'like "edge-api.{platform.name or "example.com"}"',
            ("platform.name", "platform.cname_target"),
        )


def own_socket(origin: str, config: Config) -> bool:
    """Whether an origin's URL is one of the edge's own sockets, where visitors would speak with the operator's API."""
    path = origin.removeprefix("unix:")
    own = (config.admin.socket, config.admin.api_socket)
    return path != origin and posixpath.normpath(path) in map(posixpath.normpath, own)


def _sockets(config: Config) -> Iterator[Problem]:
    if posixpath.normpath(config.admin.socket) == config.admin.api_socket:
        yield Problem(
            "admin.socket", 'the edge makes a socket api.sock of its own beside it; write another name, like "admin.sock"'
        )
    if own_socket(config.origin.url, config):
        yield Problem(
            "origin.url",
            "it is one of the edge's own sockets, and visitors would speak with its API; write the origin's",
            ("admin.socket",),
        )


def _origin_fits(config: Config) -> Iterator[Problem]:
    origin = config.origin
    if origin.routing != "subdomain":
        return
    text = 'with routing = "subdomain" the workspace goes before the origin\'s name, and {} has none; {}'
    right = 'write a name, like "https://app.example.com", or routing = "header"'
    if origin.url.startswith("unix:"):
        yield Problem("origin.url", text.format("a Unix socket", right), ("origin.routing",))
        return
    host = urlsplit(origin.url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    yield Problem("origin.url", text.format("an IP address", right), ("origin.routing",))


def _limits(config: Config) -> Iterator[Problem]:
    limits = config.limits
    if limits.request_line > limits.request_head:
        yield Problem(
            "limits.request_line",
            f"a request line of {limits.request_line} does not fit into a head of {limits.request_head}; "
            "make limits.request_head at least as large",
            ("limits.request_head",),
        )
    if limits.origin_idle > limits.origin_connections:
        yield Problem(
            "limits.origin_idle",
            f"{limits.origin_idle} idle connections cannot be kept of at most {limits.origin_connections}; "
            "make limits.origin_connections at least as large",
            ("limits.origin_connections",),
        )


def _rates(config: Config) -> Iterator[Problem]:
    if config.rates.exempt_header.replace("_", "-") == config.origin.header.replace("_", "-"):
        text = f"origins get the workspace in {config.origin.header!r}; choose another name for one of them"
        yield Problem("rates.exempt_header", text, ("origin.header",))
