"""What each value of the configuration must look like. Pure.

A rule takes one text and gives it back normalised, or raises ValueError with "what is wrong; what would be right".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from urllib.parse import SplitResult, urlsplit

from edgeproxy import model
from edgeproxy.config import nameservers, webhooks
from edgeproxy.errors import InvalidName
from edgeproxy.units import Duration, Size

Rule = Callable[[str], str]

SOCKET_PATH = 107
"""Bytes that a Unix socket's path may have: sizeof sun_path, less the NUL (unix(7))."""

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?\Z")
_CHALLENGES = ("tls-alpn-01", "http-01", "dns-01", "dns-persist-01")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\Z")
_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9.-]{1,253}\Z", re.ASCII | re.IGNORECASE)
_HEX_KEY = re.compile(r"[0-9A-Fa-f]{64}\Z")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_KEY_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
_NUMBER = re.compile(r"[0-9]{1,9}\Z", re.ASCII)
_NOTIFY = re.compile(r"[a-z][a-z0-9+.-]{1,31}://[!-~]{1,4000}\Z")
_EAB_KEY = re.compile(r"[A-Za-z0-9_-]+={0,2}\Z")
# fmt: off
_TAKEN_HEADERS = frozenset((
    "host", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    "content-type", "expect", "cookie", "authorization", "date", "via", "forwarded", "x-forwarded-for", "x-forwarded-proto",
    "x-forwarded-host", "x-request-id",
))
# fmt: on


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
        raise ValueError(f"{text!r} is not a port; a port is a number from 1 to 65535")
    return int(text)


def socket_address(text: str) -> tuple[str, int]:
    """Splits "HOST:PORT" with an address, not a name, as host; IPv6 in brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host in ("", "*") and colon:
        raise ValueError(f'{text!r} has no address; for all of them write "0.0.0.0:{port}" and "[::]:{port}"')
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or bracketed != (address.version == 6):
        raise ValueError(f'{text!r} is not an address with a port; write one like "0.0.0.0:443" or "[::]:443"')
    return str(address), _port(port)


def _server(text: str) -> str:
    """Of a DNS server that is asked."""
    try:
        host, port = socket_address(text)
    except ValueError as error:
        raise ValueError(f'{str(error).partition(";")[0]}; write one like "192.0.2.53:53" or "[2001:db8::53]:53"') from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen(text: str) -> str:
    host, port = socket_address(text)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'{text!r} is not a network; write one like "10.0.0.0/8" or "2001:db8::/32"') from None
    raise ValueError(f'{text!r} has bits set after its prefix; write "{network}"')


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'{text!r} is not an IP address; write one like "203.0.113.7" or "2001:db8::7"') from None


def _hostname(text: str) -> str:
    try:
        return model.hostname(text)
    except InvalidName as error:
        raise ValueError(error.detail.rstrip(".")) from None


def _zone(text: str) -> str:
    name = _hostname(text)
    if len(name) > nameservers.ZONE_CHARACTERS:
        raise ValueError(
            f"{name!r} is too long; names in the zone are longer by a label, so it may have {nameservers.ZONE_CHARACTERS} "
            "characters"
        )
    return name


def _pattern(text: str) -> str:
    try:
        return model.hostname(text, wildcard=True)
    except InvalidName as error:
        raise ValueError(f'{error.detail.rstrip(".")}; a pattern is a name, or "*." and a name') from None


def _network_or_name(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return _network(text) if "/" in text else _pattern(text)
    return _network(text)


def _label(text: str) -> str:
    label = text.lower()
    if not _LABEL.match(label):
        raise ValueError(f'{text!r} is not a label; write one part of a name, like "www"')
    return label


def _has_port(parts: SplitResult) -> bool:
    """Whether the port of a URL, if it names one, is one."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _split(text: str, example: str) -> SplitResult:
    """A URL in its parts, with what every URL here must or must not have."""
    wrong = ValueError(f'{text!r} is not a URL; write one like "{example}"')
    if not text.isascii() or any(character <= " " for character in text):
        raise ValueError(f'{text!r} has spaces or characters outside ASCII; write a URL like "{example}"')
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        raise wrong from None
    if not host:
        raise wrong
    if not _has_port(parts):
        raise ValueError(f"{text!r} has a port that is none; ports are 1 to 65535")
    if parts.username is not None:
        raise ValueError("a user name or password in a URL would show in logs and process lists; write it without")
    if parts.fragment:
        raise ValueError(f'{text!r} has a fragment, "#…", which is never sent; write it without')
    return parts


def _origin(text: str) -> str:
    if text.startswith("unix:"):
        _unix_path(text.removeprefix("unix:"), 'like "unix:/run/app/app.sock"')
        return text
    parts = _split(text, "http://127.0.0.1:3000")
    if parts.scheme not in ("http", "https"):
        raise ValueError(
            f'{text!r} has the scheme {parts.scheme!r}; an origin is "http://HOST:PORT", "https://HOST" or "unix:/PATH"'
        )
    if parts.path not in ("", "/") or parts.query:
        raise ValueError(
            f'{text!r} has a path; visitors\' paths go to the origin as they come: write "{parts.scheme}://{parts.netloc}"'
        )
    return f"{parts.scheme}://{parts.netloc}"


def _asked(text: str, example: str) -> str:
    """A URL of the platform's that is asked."""
    if _split(text, example).scheme not in ("http", "https"):
        raise ValueError(f'{text!r} is neither http nor https; write a URL like "{example}"')
    return text


def _gate(text: str) -> str:
    return _asked(text, "http://127.0.0.1:3000/edge/allow")


def _entitlement(text: str) -> str:
    return _asked(text, "http://127.0.0.1:3000/edge/paid")


def _entitled(text: str) -> str:
    """A workspace, and how many domains it may have."""
    workspace, _, number = " ".join(text.split()).partition(" ")
    if not model.WORKSPACE_ID.match(workspace) or (number and not _NUMBER.match(number)):
        raise ValueError(
            f'{text!r} is not a workspace, or one and a number of domains; write "spandantest" or "spandantest 50"'
        )
    return f"{workspace} {number}".strip()


def receiver(text: str) -> str:
    """Where webhooks are sent."""
    example = "https://example.com/hooks/edge"
    if len(text) > webhooks.URL_CHARACTERS:
        raise ValueError(f"the URL has more than {webhooks.URL_CHARACTERS} characters; choose a shorter one")
    if _split(text, example).scheme not in ("http", "https"):
        raise ValueError(f'{text!r} is neither http nor https; write a URL like "{example}"')
    return text


def _notify(text: str) -> str:
    """Never quotes the value: it holds a secret."""
    if not _NOTIFY.match(text):
        raise ValueError('this is not a URL of apprise; write one like "mailtos://user:password@example.com" or "file:/PATH"')
    return text


def _hook_label(text: str) -> str:
    if len(text) > webhooks.LABEL_CHARACTERS or not text.isprintable():
        raise ValueError(f"a label has at most {webhooks.LABEL_CHARACTERS} printable characters; choose a shorter one")
    return text


def _directory(text: str) -> str:
    if text == "internal":
        return text
    example = "https://acme-v02.api.letsencrypt.org/directory"
    if _split(text, example).scheme != "https":
        raise ValueError(f'{text!r} is not https, which ACME demands (RFC 8555 section 6.1); write "{example}" or "internal"')
    return text


def _acme_directory(text: str) -> str:
    if text == "internal":
        raise ValueError(
            'the built-in CA is no fallback: no browser trusts it; write ACME directories, or directory = "internal"'
        )
    return _directory(text)


def _store(text: str) -> str:
    if text.startswith(("postgresql:", "postgres:", "postgresql+")):
        raise ValueError('PostgreSQL is not built yet; write "sqlite:///edgeproxy.db"')
    if not text.startswith("sqlite:///") or text == "sqlite:///" or "?" in text or ":memory:" in text:
        raise ValueError(
            'a store is a SQLite file: "sqlite:///FILE", relative to state.directory, or "sqlite:////absolute/FILE"'
        )
    return text


def absolute_path(text: str) -> str:
    """The rule of paths. Raises ValueError."""
    if not text.startswith("/") or "\0" in text:
        raise ValueError(f'{text!r} is not an absolute path; write it from the root, like "/var/lib/edgeproxy"')
    return text


def _unix_path(text: str, example: str) -> str:
    if not text.startswith("/") or "\0" in text or text.endswith("/"):
        raise ValueError(f"{text!r} is not an absolute path of a socket; write it from the root, {example}")
    if len(text.encode()) > SOCKET_PATH:
        raise ValueError(
            f"the path of a Unix socket may have {SOCKET_PATH} bytes, this has {len(text.encode())}; choose a shorter one"
        )
    return text


def _admin_socket(text: str) -> str:
    return _unix_path(text, 'like "/run/edgeproxy/admin.sock"')


def _key(text: str) -> str:
    """Never quotes the value: it is the root of every secret."""
    if text.startswith("file:"):
        if not text.startswith("file:/") or "\0" in text:
            raise ValueError('the path after "file:" is not absolute; write it like "file:/etc/edgeproxy/state.key"')
        return text
    if not _HEX_KEY.match(text):
        raise ValueError('the key is not 64 hexadecimal digits; write those, or "file:/PATH", or leave it out')
    return text.lower()


def _eab_key(text: str) -> str:
    if not _EAB_KEY.match(text):
        raise ValueError("the key is not base64url; copy it exactly as the CA gave it, letters, digits, hyphen and underscore")
    return text


def _fallback_eab(text: str) -> str:
    """Never quotes the value."""
    parts = text.split()
    if len(parts) != 3 or not parts[0].startswith("https://") or not _EAB_KEY.match(parts[2]):
        raise ValueError(
            'this is not a directory, a key id and an HMAC key with spaces between; write "https://ca.example/directory KEY_ID '
            'HMAC_KEY", or "file:/PATH"'
        )
    return " ".join(parts)


def _tsig_name(text: str) -> str:
    name = text.lower().removesuffix(".")
    if not _KEY_NAME.match(name):
        raise ValueError(f'{text!r} is not the name of a TSIG key; copy it from the DNS server, like "edgeproxy-key"')
    return name


def _tsig_secret(text: str) -> str:
    """Never quotes the value."""
    secret = text.strip()
    if not secret or not _BASE64.match(secret):
        raise ValueError('the secret is not base64; copy it exactly as it stands at the DNS server, or write "file:/PATH"')
    return secret


def _header(text: str) -> str:
    name = text.lower()
    if not _TOKEN.match(name):
        raise ValueError(f'{text!r} is not a header name; write one like "workspace-id"')
    if name.replace("_", "-") in _TAKEN_HEADERS:
        raise ValueError(f'{text!r} means something else in HTTP already; choose a name of your own, like "workspace-id"')
    return name


def _challenge(text: str) -> str:
    if text not in _CHALLENGES:
        raise ValueError(f"{text!r} is not a challenge; write some of {', '.join(map(repr, _CHALLENGES))}".replace("'", '"'))
    return text


def _user(text: str) -> str:
    if not _USER.match(text):
        raise ValueError(f'{text!r} is not the name of a user or group; write one like "edgeproxy"')
    return text


def _email(text: str) -> str:
    if not _EMAIL.match(text):
        raise ValueError(f'{text!r} is not an e-mail address; write one like "ops@example.com"')
    return text


def _host(text: str) -> str:
    """A server's name or address."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text if text == "localhost" else _hostname(text)


def _any(text: str) -> str:
    """What only the server can judge."""
    return text


def _sender(text: str) -> str:
    from email.utils import parseaddr  # 9 ms, which a start without mail need not wait for

    name, address = parseaddr(text)
    if not _MAILBOX.match(address) or not name.isprintable():
        raise ValueError(f'{text!r} is not a sender; write "edge@example.com" or "Example <edge@example.com>"')
    return text


def _access_log(text: str) -> str:
    if text in ("stdout", "off"):
        return text
    if not text.startswith("/"):
        raise ValueError(f'{text!r} is no place for a log; write "stdout", "off" or an absolute path')
    return text


def _page_origin(text: str) -> str:
    """As browsers write it in Origin (RFC 6454 section 6.2): lower case, without the scheme's own port."""
    if text == "*":
        return text
    example = 'write it like "https://app.example.com"'
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not an origin; {example}") from None
    if parts.username is not None:
        raise ValueError(f"an origin has no user name; {example}")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(f"{text!r} is not an origin; {example}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{text!r} has a path; an origin is only scheme, host and port: {example}")
    try:
        address = ipaddress.ip_address(host)
        host = f"[{address}]" if address.version == 6 else str(address)
    except ValueError:
        host = model.hostname(host)
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}{'' if port in (None, default) else f':{port}'}"


def _visitors_address(text: str) -> str:
    """A name, or an address, with a port."""
    host, colon, port = text.rpartition(":")
    if colon and model.wire_hostname(host) is not None:
        return f"{model.wire_hostname(host)}:{_port(port)}"
    address, number = socket_address(text)
    return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"


def not_built(text: str) -> str:
    """The rule of keys that nothing looks at yet: refused, so that nobody believes they work. Raises ValueError."""
    raise ValueError("this is not built yet; leave it out")


RULES: dict[str, Rule] = {
    "listen.https": _listen,
    "listen.http": _listen,
    "listen.proxy_protocol": not_built,
    "listen.trusted_proxies": _network,
    "process.user": _user,
    "process.worker_user": _user,
    "process.group": _user,
    "state.directory": absolute_path,
    "state.key": _key,
    "store.url": _store,
    "admin.socket": _admin_socket,
    "api.hostname": _hostname,
    "api.cors_origins": _page_origin,
    "platform.name": _hostname,
    "platform.cname_target": _hostname,
    "platform.addresses": _address,
    "platform.reserved": _label,
    "origin.url": _origin,
    "origin.allow": _network_or_name,
    "origin.header": _header,
    "origin.ca_bundle": absolute_path,
    "issuance.directory": _directory,
    "issuance.fallback": _acme_directory,
    "issuance.ca_bundle": absolute_path,
    "issuance.email": _email,
    "issuance.challenges": _challenge,
    "issuance.eab.hmac_key": _eab_key,
    "issuance.eab.fallback": _fallback_eab,
    "issuance.allow.patterns": _pattern,
    "issuance.allow.gate": _gate,
    "dns.resolvers": _server,
    "dns.zone": _zone,
    "dns.listen": _listen,
    "dns.nameservers": _hostname,
    "dns.rfc2136.server": _server,
    "dns.rfc2136.zone": _hostname,
    "dns.rfc2136.key_name": _tsig_name,
    "dns.rfc2136.key_secret": _tsig_secret,
    "webhooks.allow": _network_or_name,
    "webhooks.endpoints.url": receiver,
    "webhooks.endpoints.secret": webhooks.secret,
    "webhooks.endpoints.events": webhooks.event_filter,
    "webhooks.endpoints.label": _hook_label,
    "entitlement.url": _entitlement,
    "entitlement.static": _entitled,
    "mail.server": _host,
    "mail.username": _any,
    "mail.password": _any,
    "mail.sender": _sender,
    "mail.ca_bundle": absolute_path,
    "verification.visitors_address": _visitors_address,
    "tls.default_hostname": _hostname,
    "log.access": _access_log,
    "alerts.notify": _notify,
    "metrics.listen": _listen,
}
"""The rule for each text, or each text of a list. An empty text where the default is empty needs none."""

MUST_NOT_BE_EMPTY = frozenset(
    ("state.directory", "store.url", "admin.socket", "origin.url", "origin.header", "issuance.directory", "log.access")
)

CERTIFICATE_FILES = frozenset(("origin.ca_bundle", "issuance.ca_bundle", "mail.ca_bundle"))
"""Paths of PEM files with certificates. They are looked into at once: a fault would else show with the first visitor."""

USERS = frozenset(("process.user", "process.worker_user"))
GROUPS = frozenset(("process.group",))
"""Accounts of this machine, which must exist there."""

LATER = {
    "tls.hsts": "HSTS",
}
"""Keys of the documented contract that this version does not honour: refused, so that nobody believes they work."""

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
    "limits.client_hello": (1024, 1024 * 1024),
    "limits.request_head": (1024, 1024 * 1024),
    "limits.request_line": (256, 1024 * 1024),
    "limits.response_head": (1024, 1024 * 1024),
    "limits.header_count": (16, 10_000),
    "limits.streams": (1, 10_000),
}
"""Least and greatest of each number; other limits are from 1 to a thousand million."""

_LONGEST = Duration(365 * 86400)


SECRET = frozenset(
    (
        "state.key",
        "issuance.eab.hmac_key",
        "issuance.eab.fallback",
        "dns.rfc2136.key_secret",
        "webhooks.endpoints.secret",
        "alerts.notify",
        "mail.password",
    )
)
"""Keys whose values are never shown, in a fault or elsewhere."""


PRIVATE_FILES = frozenset(
    ("issuance.eab.hmac_key", "issuance.eab.fallback", "webhooks.endpoints.secret", "alerts.notify", "mail.password")
)
"""Keys whose files nobody else may read."""


def in_range(key: str, value: float) -> None:
    """Raises ValueError for a number, size or duration outside what it may be."""
    if isinstance(value, Duration):
        if not 0 < value <= _LONGEST:
            raise ValueError(f'{value} is outside what is possible; write more than 0 and at most "365d"')
        return
    least, greatest = _RANGES.get(key, (1, 10**9))
    if not least <= value <= greatest:
        unit: type[int] = Size if isinstance(value, Size) else int
        raise ValueError(f"{value} is outside what is possible; write {unit(least)} to {unit(greatest)}")
