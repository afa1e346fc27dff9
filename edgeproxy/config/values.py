"""Which rule each value of the configuration has, and which are bounded, secret or not to be empty. Pure.

A rule takes one text and gives it back normalised, or raises ValueError with "what is wrong; what would be right".
"""

from __future__ import annotations

from collections.abc import Callable

from edgeproxy.config import compression, identity, webhooks
from edgeproxy.config.rules import addresses, answers, paths, secrets, urls, words
from edgeproxy.units import Duration, Size

Rule = Callable[[str], str]


RULES: dict[str, Rule] = {
    "listen.https": addresses.address_and_port,
    "listen.http": addresses.address_and_port,
    "listen.proxy_protocol": addresses.network,
    "listen.trusted_proxies": addresses.network,
    "process.user": words.user,
    "process.worker_user": words.user,
    "process.group": words.user,
    "state.directory": paths.absolute_path,
    "state.key": secrets.state_key,
    "store.url": paths.store_url,
    "admin.socket": paths.admin_socket,
    "api.hostname": addresses.hostname,
    "api.cors_origins": urls.page_origin,
    "platform.name": addresses.hostname,
    "platform.cname_target": addresses.hostname,
    "platform.addresses": addresses.address,
    "platform.reserved": addresses.label,
    "origin.url": urls.origin_url,
    "origin.allow": addresses.network_or_name,
    "origin.header": words.header,
    "origin.ca_bundle": paths.absolute_path,
    "origin.client_certificate": identity.certificate,
    "origin.client_key": identity.key,
    "origin.pins": identity.pin,
    "issuance.directory": urls.directory,
    "issuance.fallback": urls.acme_directory,
    "issuance.ca_bundle": paths.absolute_path,
    "issuance.email": words.email,
    "issuance.challenges": words.challenge,
    "issuance.eab.hmac_key": secrets.eab_key,
    "issuance.eab.fallback": secrets.fallback_eab,
    "issuance.allow.patterns": addresses.pattern,
    "issuance.allow.gate": urls.gate_url,
    "dns.resolvers": addresses.dns_server,
    "dns.zone": addresses.zone,
    "dns.listen": addresses.address_and_port,
    "dns.nameservers": addresses.hostname,
    "dns.rfc2136.server": addresses.dns_server,
    "dns.rfc2136.zone": addresses.hostname,
    "dns.rfc2136.key_name": secrets.tsig_name,
    "dns.rfc2136.key_secret": secrets.tsig_secret,
    "webhooks.allow": addresses.network_or_name,
    "webhooks.endpoints.url": urls.receiver,
    "webhooks.endpoints.secret": webhooks.secret,
    "webhooks.endpoints.events": webhooks.event_filter,
    "webhooks.endpoints.label": words.hook_label,
    "entitlement.url": urls.entitlement_url,
    "entitlement.static": words.entitled_workspace,
    "mail.server": addresses.name_or_address,
    "mail.username": words.anything,
    "mail.password": words.anything,
    "mail.sender": words.sender,
    "mail.ca_bundle": paths.absolute_path,
    "verification.visitors_address": addresses.visitors_address,
    "http.headers": answers.header_line,
    "http.remove_headers": answers.removable,
    "http.allow": addresses.network,
    "http.deny": addresses.network,
    "tls.hsts": answers.hsts,
    "tls.default_hostname": addresses.hostname,
    "rates.per_network": words.rate,
    "rates.per_hostname": words.rate,
    "rates.per_workspace": words.rate,
    "rates.exempt": addresses.network,
    "rates.exempt_header": words.exempt_header,
    "rates.exempt_tokens": secrets.exempt_token,
    "compression.codings": compression.coding,
    "compression.types": compression.media_type,
    "compression.never": compression.path,
    "log.access": paths.access_log,
    "alerts.notify": urls.notify_url,
    "metrics.listen": addresses.address_and_port,
}
"""The rule for each text, or each text of a list. An empty text where the default is empty needs none."""

MUST_NOT_BE_EMPTY = frozenset(
    (
        "state.directory",
        "store.url",
        "admin.socket",
        "origin.url",
        "origin.header",
        "issuance.directory",
        "rates.exempt_header",
        "log.access",
    )
)

CERTIFICATE_FILES = frozenset(("origin.ca_bundle", "issuance.ca_bundle", "mail.ca_bundle"))
"""Paths of PEM files with certificates. They are looked into at once: a fault would else show with the first visitor."""

OF_LINES = frozenset(("origin.client_certificate", "origin.client_key"))
"""Texts in PEM. All others are of one line."""

USERS = frozenset(("process.user", "process.worker_user"))
GROUPS = frozenset(("process.group",))
"""Accounts of this machine, which must exist there."""

_RANGES: dict[str, tuple[int, int]] = {
    "listen.public_https_port": (1, 65535),
    "workers.count": (0, 128),
    "mail.port": (0, 65535),
    "metrics.top": (0, 10_000),
    "alerts.origin_errors": (1, 100),
    "issuance.budget.orders": (0, 10**6),
    "issuance.budget.certificates": (0, 10**6),
    "issuance.budget.failures": (0, 10**6),
    "issuance.budget.duplicates": (0, 10**6),
    "issuance.budget.shares.new": (1, 98),
    "issuance.budget.shares.renewals": (1, 98),
    "issuance.budget.shares.retries": (1, 98),
    "compression.minimum": (0, 1024**3),
    "limits.client_hello": (1024, 1024 * 1024),
    "limits.request_head": (1024, 1024 * 1024),
    "limits.request_line": (256, 1024 * 1024),
    "limits.response_head": (1024, 1024 * 1024),
    "limits.header_count": (16, 10_000),
    "limits.client_rate": (0, 1024 * 1024),
    "limits.request_body": (0, 10**15),
    "limits.streams": (1, 10_000),
}
"""Least and greatest of each number; other limits are from 1 to a thousand million."""

_LONGEST = Duration(365 * 86400)


SECRET = frozenset(
    (
        "state.key",
        "origin.client_key",
        "issuance.eab.hmac_key",
        "issuance.eab.fallback",
        "dns.rfc2136.key_secret",
        "webhooks.endpoints.secret",
        "rates.exempt_tokens",
        "alerts.notify",
        "mail.password",
    )
)
"""Keys whose values are never shown, in a fault or elsewhere."""


PRIVATE_FILES = frozenset(
    (
        "origin.client_key",
        "issuance.eab.hmac_key",
        "issuance.eab.fallback",
        "webhooks.endpoints.secret",
        "rates.exempt_tokens",
        "alerts.notify",
        "mail.password",
    )
)
"""Keys whose files nobody else may read."""


def in_range(key: str, value: float) -> None:
    """Raises ValueError for a number, size or duration outside what it may be."""
    if isinstance(value, Duration):
        if key == "alerts.latency_window" and not 60 <= value <= 3600:
            raise ValueError(f'{value} is outside what is possible; write "1m" to "1h"')
        if not 0 < value <= _LONGEST:
            raise ValueError(f'{value} is outside what is possible; write more than 0 and at most "365d"')
        return
    least, greatest = _RANGES.get(key, (1, 10**9))
    if not least <= value <= greatest:
        unit: type[int] = Size if isinstance(value, Size) else int
        raise ValueError(f"{value} is outside what is possible; write {unit(least)} to {unit(greatest)}")
