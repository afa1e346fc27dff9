"""The configuration's keys: none is lost, none is without effect, none can be changed at runtime, no secret is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import edgeproxy
from edgeproxy.config import values
from edgeproxy.config.dns import Dns, Rfc2136
from edgeproxy.config.issuance import Eab, Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.mail import Mail
from edgeproxy.config.monitoring import Alerts
from edgeproxy.config.platform import Origin
from edgeproxy.config.rates import Rates
from edgeproxy.config.structs import Config
from edgeproxy.config.webhooks import Endpoint, Webhooks
from edgeproxy.units import decode_hook

PROMISED = """
listen.https listen.http listen.proxy_protocol listen.trusted_proxies listen.public_https_port
process.user process.worker_user process.group
state.directory state.key store.url workers.count admin.socket
api.hostname api.cors_origins
platform.name platform.cname_target platform.addresses platform.reserved
origin.url origin.allow origin.routing origin.header origin.on_unknown origin.on_error origin.host origin.ca_bundle
issuance.directory issuance.fallback issuance.ca_bundle issuance.email issuance.agree_terms issuance.profile
issuance.challenges issuance.eab.key_id issuance.eab.hmac_key issuance.on_demand issuance.handshake_wait
issuance.allow.registered issuance.allow.patterns issuance.allow.gate issuance.allow.gate_timeout issuance.allow.gate_ttl
dns.resolvers dns.rfc2136.server dns.rfc2136.zone dns.rfc2136.key_name dns.rfc2136.key_secret
dns.rfc2136.algorithm http.h2 http.headers http.remove_headers http.allow http.deny
tls.hsts tls.hsts_after tls.minimum tls.default_hostname tls.key_type
timeouts.handshake timeouts.client_header timeouts.client_body timeouts.idle timeouts.write timeouts.origin_connect
timeouts.origin_response timeouts.origin_idle timeouts.tunnel_idle timeouts.drain
limits.connections limits.connections_per_address limits.waiting_handshakes limits.client_hello limits.request_head
limits.request_line limits.header_count limits.response_head limits.requests_per_connection limits.streams
limits.origin_connections limits.origin_idle limits.contexts limits.sites limits.negative_names limits.pending_issuances
limits.gate_routes limits.access_log_queue
pages.maintenance pages.suspended pages.setup pages.setup_until_active
entitlement.url entitlement.timeout entitlement.ttl entitlement.on_error entitlement.static entitlement.grace
mail.server mail.port mail.security mail.username mail.password mail.sender mail.ca_bundle mail.timeout
entitlement.remove_after limits.domains_per_workspace
verification.preset verification.give_up_after verification.look_again verification.forget_after verification.undo
verification.revoke_removed verification.visitors_address verification.localhost
log.access log.format log.level metrics.listen metrics.top
"""
"""Keys that operators' files may have. One that is taken away or renamed makes such a file an error: add only."""

PACKAGE = Path(edgeproxy.__file__).parent
SOURCE = "\n".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "config")


def keys(section: msgspec.Struct, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield from keys(value, (*path, field.name))
        else:
            yield ".".join((*path, field.name)), value


def sections(section: msgspec.Struct) -> Iterator[msgspec.Struct]:
    yield section
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, msgspec.Struct):
            yield from sections(value)


def test_every_key_that_was_ever_promised_is_there() -> None:
    assert set(PROMISED.split()) <= dict(keys(Config())).keys()


@pytest.mark.parametrize("key", [key for key, _ in keys(Config())])
def test_a_key_that_can_be_set_has_an_effect(key: str) -> None:
    assert re.search(rf"\.{key.rpartition('.')[2]}\b", SOURCE), (
        f"nothing looks at {key}: refuse it, so that nobody believes it works"
    )


@pytest.mark.parametrize("section", list(sections(Config())), ids=lambda section: type(section).__name__)
def test_no_section_takes_what_it_does_not_know_or_lets_itself_be_changed(section: msgspec.Struct) -> None:
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert({"colour": "red"}, type(section), dec_hook=decode_hook)
    with pytest.raises(AttributeError, match="immutable"):
        setattr(section, msgspec.structs.fields(section)[0].name, None)


def test_two_configurations_that_say_the_same_are_the_same() -> None:
    one, other = Config(), msgspec.convert({}, Config, dec_hook=decode_hook)
    assert one == other
    assert hash(one) == hash(other)  # nothing in it is a list that one process's code could append to
    assert one != msgspec.structs.replace(other, issuance=Issuance(email="ops@example.com"))


def test_secrets_are_not_in_a_configurations_repr() -> None:
    secrets = {
        "state.key": "ab" * 32,
        "origin.client_key": "cHJpdmF0ZQ",
        "issuance.eab.hmac_key": "c2VjcmV0",
        "issuance.eab.fallback": "aG1hYw",
        "dns.rfc2136.key_secret": "Z2VoZWlt",
        "webhooks.endpoints.secret": "whsec_Z2VoZWlt",
        "alerts.notify": "slack://c2VjcmV0/",
        "mail.password": "cGFzc3dvcnQ",
        "rates.exempt_tokens": "dG9rZW4tdG9rZW4tdG9rZW4",
    }
    assert secrets.keys() == values.SECRET
    config = Config(
        state=State(key="ab" * 32),
        origin=Origin(client_key="cHJpdmF0ZQ"),
        issuance=Issuance(eab=Eab(key_id="seen", hmac_key="c2VjcmV0", fallback=("https://ca.example/dir k aG1hYw",))),
        dns=Dns(rfc2136=Rfc2136(key_name="known", key_secret="Z2VoZWlt")),
        alerts=Alerts(notify=("slack://c2VjcmV0/",)),
        webhooks=Webhooks(endpoints=(Endpoint(url="https://a.example/", secret="whsec_Z2VoZWlt"),)),
        mail=Mail(username="known", password="cGFzc3dvcnQ"),
        rates=Rates(exempt_tokens=("dG9rZW4tdG9rZW4tdG9rZW4",)),
    )
    shown = repr(config)
    assert not [key for key, value in secrets.items() if value in shown]
    assert "'seen'" in shown
    assert "'known'" in shown
    assert "/var/lib/edgeproxy" in shown
