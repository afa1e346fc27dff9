"""Finds out what there is to know of a hostname: the DNS, the CA, ports, what is served, what we know ourselves."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable, Sequence

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.config.structs import Config
from edgeproxy.control.dns.caa import rule
from edgeproxy.control.dns.lookup import DnsUnavailable, Lookup, Said
from edgeproxy.control.dns.zone import zone_label
from edgeproxy.control.doctor.report import Caa, Delegation, Facts, OwnTarget, Port, Standing, View
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.domains.verification.seen import Verdict as Looked
from edgeproxy.control.domains.verification.wanted import workspace_label
from edgeproxy.control.issuance.acme.challenges import proves_wildcards
from edgeproxy.control.issuance.acme.transport import Transport
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.policy import Admission, Registration, Verdict, admit, not_registered
from edgeproxy.control.issuance.queue import Turn
from edgeproxy.control.probe.grading import Graded, grade
from edgeproxy.control.probe.look import asked_name, look
from edgeproxy.control.probe.trust import trust_now
from edgeproxy.control.store import Failure, Store, StoredCertificate
from edgeproxy.control.store.rows.domains import Domain
from edgeproxy.errors import EdgeError
from edgeproxy.model import SERVED, DomainState

PUBLIC = ("1.1.1.1:53", "8.8.8.8:53", "9.9.9.9:53")
"""Public resolvers, asked only by whoever says so: they learn the name."""

PATIENCE = 5.0
"""Seconds that one question to the DNS may take."""

CONNECT_SECONDS = 4.0

ADDRESSES = 4
"""Addresses of a name that are connected to."""

RESOLVERS = 8
"""Resolvers that one examination asks beside the system's and the configured ones."""


async def examine(
    config: Config,
    store: Store,
    hostname: str,
    now: Callable[[], float],
    others: Sequence[str] = (),
    *,
    failed: Callable[[str], Awaitable[Failure | None]] | None = None,
    turn_of: Callable[[str], Awaitable[Turn | None]] | None = None,
    looker: Looker | None = None,
) -> Facts:
    """All facts about a hostname or wildcard. `others` are more resolvers, "ADDRESS:PORT". `failed` tells of failures that
    are remembered outside the store: those by a wrong setting are; `turn_of` of orders that wait;
    `looker` looks as at names that are to be verified, by default one made for this. Raises EdgeError for the store's."""
    asked = asked_name(hostname)
    lookups = _lookups(config, others)
    decisive = lookups[0][1]
    local = _is_local(asked, config)
    admission = await _admission(config, store, hostname)
    views, caa, apex, delegation, verdict = await asyncio.gather(
        asyncio.gather(*(_view(config, *lookup, asked) for lookup in lookups if not local)),
        _caa(config, store, decisive, hostname, now),
        _is_apex(config, decisive, asked),
        _delegation(config, decisive, admission.certificate or hostname),
        _verdict(config, store, hostname, now, looker),
    )
    own_target = await _own_target(config, store, decisive, hostname, views)
    stored = await store.current_certificate(hostname, now())
    addresses = ("127.0.0.1",) if local else next((view.addresses for view in views if view.addresses), ())[:ADDRESSES]
    ports = await asyncio.gather(*(_port(address, port) for address in addresses for port in _public_ports(config)))
    return Facts(
        hostname=hostname,
        cname_target=config.platform.cname_target,
        addresses=frozenset(config.platform.addresses),
        apex=apex,
        views=tuple(views),
        caa=caa,
        ports=tuple(ports),
        served=await _served(config, store, asked, ports, stored, now()),
        standing=dataclasses.replace(
            await _standing(config, store, hostname, stored, failed),
            revoked=stored is not None and stored.revocation is not None,
            turn=None if turn_of is None else await turn_of(hostname),
        ),
        now=now(),
        delegation=delegation,
        own_target=own_target,
        verdict=verdict,
    )


def _lookups(config: Config, others: Sequence[str]) -> list[tuple[str, Lookup, bool]]:
    """Who is asked, the most important first; and whether what it says counts."""
    configured = config.dns.resolvers
    found: list[tuple[str, Lookup, bool]] = []
    if configured:
        name = "resolver" if len(configured) == 1 else "resolvers"
        found.append((f"the configured {name} ({', '.join(configured)})", Lookup(configured, patience=PATIENCE), True))
    found.append(("the system's resolver", Lookup(patience=PATIENCE), not configured))
    found += [(f"the resolver {other}", Lookup((other,), patience=PATIENCE), True) for other in others[:RESOLVERS]]
    return found


async def _view(config: Config, who: str, lookup: Lookup, decides: bool, hostname: str) -> View:
    questions = [(hostname, "A"), (hostname, "AAAA")]
    if config.platform.cname_target:
        questions += [(config.platform.cname_target, "A"), (config.platform.cname_target, "AAAA")]
    ipv4, ipv6, *target = await asyncio.gather(*(lookup.ask(name, kind) for name, kind in questions))
    return View(who=who, ipv4=ipv4, ipv6=ipv6, target=tuple(target), decides=decides)


def _is_local(hostname: str, config: Config) -> bool:
    """Whether every browser knows the name as its own machine, and no DNS is to be asked of it (RFC 6761 section 6.3). The
    demo has a DNS of its own for such names, which is asked as in earnest."""
    return not config.verification.localhost and (hostname == "localhost" or hostname.endswith(".localhost"))


async def _is_apex(config: Config, lookup: Lookup, hostname: str) -> bool:
    if _is_local(hostname, config):
        return False
    answer = await lookup.ask(hostname, "SOA")
    return answer.said is Said.RECORDS and not answer.chain


async def _admission(config: Config, store: Store, hostname: str) -> Admission:
    domain = await store.registration_of(hostname)
    return admit(hostname, config, None if domain is None else Registration(domain.hostname, domain.state))


async def _delegation(config: Config, lookup: Lookup, hostname: str) -> Delegation | None:
    """Of the name that a certificate is obtained for: the hostname's own, or the wildcard that serves it."""
    if not hostname.startswith("*.") or not config.dns.zone or config.issuance.directory == INTERNAL:
        return None
    name = f"_acme-challenge.{hostname[2:]}"
    wanted = f"{zone_label(hostname)}.{config.dns.zone}"
    own = hostname == f"*.{config.platform.name}"
    return Delegation(name=name, wanted=wanted, answer=await lookup.ask(name, "CNAME"), own=own)


async def _own_target(config: Config, store: Store, lookup: Lookup, hostname: str, views: Sequence[View]) -> OwnTarget | None:
    """Where a CNAME to it is offered, or there is one."""
    target = config.platform.cname_target
    used = any(alias.endswith(f".{target}") for view in views for alias in view.chain)
    if not target or not views or not (used or config.verification.preset == "prove"):
        return None
    domain = await store.registration_of(hostname)
    name = f"{workspace_label('' if domain is None else domain.workspace_id)}.{target}"
    return OwnTarget(name=name, answers=tuple(await asyncio.gather(lookup.ask(name, "A"), lookup.ask(name, "AAAA"))))


async def _caa(config: Config, store: Store, lookup: Lookup, hostname: str, now: Callable[[], float]) -> Caa:
    directory = config.issuance.directory
    if directory == INTERNAL or _is_local(hostname, config):
        return Caa(directory=directory)
    transport = Transport(directory, config.issuance.ca_bundle, now, asyncio.get_running_loop().time)
    try:
        identities = (await transport.directory()).meta.caa_identities
        account = await store.account(directory)
        found = await lookup.caa(hostname)
    except DnsUnavailable as error:
        trouble = f"CAA records could not be looked up; a CA that gets no answer either does not issue. {error.detail}"
        return Caa(directory=directory, trouble=trouble)
    except EdgeError as error:
        return Caa(directory=directory, trouble=f"The CA could not be asked. {error.detail}", usable=False)
    finally:
        await transport.close()
    if not identities:
        # without records any CA may issue
        trouble = f"{found.name} has CAA records, and {transport.host} does not say by which names they know it."
        return Caa(directory=directory, trouble=trouble if found.records else "")
    url = "" if account is None else account.url
    ruling = rule(found, hostname, identities, config.issuance.challenges, url)
    return Caa(directory=directory, identity=identities[0], ruling=ruling)


async def _verdict(
    config: Config, store: Store, hostname: str, now: Callable[[], float], looker: Looker | None
) -> Looked | None:
    """By what a domain that waits for it has to show; of any other name, whether it points here."""
    domain = await store.registration_of(hostname)
    waits = domain is not None and domain.hostname == hostname and domain.state not in SERVED and bool(domain.proof)
    if _is_local(hostname, config) or (hostname.startswith("*.") and not waits):
        return None
    if domain is None or not waits:
        workspace = domain.workspace_id if domain is not None else ""
        state, at = DomainState.PENDING_VALIDATION, now()
        domain = Domain(hostname=hostname, workspace_id=workspace, state=state, created_at=at, updated_at=at, method="cname")
    if looker is not None:
        return await looker.look(domain, urgent=True)
    own = Looker(config, now)
    try:
        return await own.look(domain, urgent=True)
    finally:
        await own.close()


def _public_ports(config: Config) -> list[int]:
    """Where visitors and the CA come: 443 and 80, or where an edge on other ports listens."""
    https = config.listen.public_https_port
    http = 80 if https == 443 else next((socket_address(each)[1] for each in config.listen.http), 0)
    return [port for port in (https, http) if port]


async def _port(address: str, port: int) -> Port:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return Port(address=address, port=port, error=f"no answer within {CONNECT_SECONDS:g} s")
    except OSError as error:
        return Port(address=address, port=port, error=(os.strerror(error.errno) if error.errno else str(error)).lower())
    writer.transport.abort()
    return Port(address=address, port=port)


async def _served(
    config: Config, store: Store, hostname: str, ports: Sequence[Port], stored: StoredCertificate | None, now: float
) -> Graded | None:
    https = config.listen.public_https_port
    at = next((port for port in ports if port.port == https and not port.error), None)
    if at is None:
        return None
    served = await look(at.address, https, hostname, await trust_now(config, store), own=config)
    return grade(served, hostname, now, expected="" if stored is None else stored.id)


async def _standing(
    config: Config,
    store: Store,
    hostname: str,
    stored: StoredCertificate | None,
    failed: Callable[[str], Awaitable[Failure | None]] | None,
) -> Standing:
    domain = await store.registration_of(hostname)
    admission = await _admission(config, store, hostname)
    name = admission.certificate or hostname
    failure = (await failed(name) if failed is not None else None) or await store.failure(name)
    unproven = domain is not None and domain.state in (DomainState.PENDING_VALIDATION, DomainState.PARKED)
    admitted, reason, cure = admission.verdict is Verdict.ALLOWED, admission.reason, ""
    if admission.verdict is Verdict.ASK_GATE:
        admitted = await store.get_gate_route(hostname) is not None
        reason = (
            f"The gate admits {hostname}." if admitted else f"{hostname} is not registered; the gate decides at its next visit."
        )
    elif not admitted:
        cure = "Nothing is served for it until that changes."
        if admission.reason == not_registered(hostname):
            cure = f"Register it: edgeproxy domains add {hostname} --workspace W."
        elif unproven:
            cure = f"It is served once its records prove it: edgeproxy domains verify {hostname} looks at once."
    elif domain is not None:
        reason = (
            f"{domain.hostname} is registered for workspace {domain.workspace_id} and {domain.state.value.replace('_', ' ')}."
        )
    return Standing(
        admitted=admitted or admission.verdict is Verdict.ASK_GATE,
        reason=reason,
        cure=cure,
        unproven=unproven,
        workspace_id=domain.workspace_id if domain is not None else "",
        has_certificate=stored is not None,
        unissuable=_unissuable(config, name),
        error="" if failure is None else failure.detail,
        error_at=0.0 if failure is None else failure.updated_at,
        next_try=0.0 if failure is None else failure.next_try,
    )


def _unissuable(config: Config, name: str) -> str:
    """Why no certificate for this name can be obtained as the edge is configured, and the cure; empty: one can."""
    if config.issuance.directory == INTERNAL:
        return ""
    built_in = 'or use the built-in CA (issuance.directory = "internal")'
    if name.startswith("*.") and not proves_wildcards(config):
        return (
            f'A CA issues {name} by DNS-01 only, which is not set up. Have "dns-01" in issuance.challenges and set dns.zone '
            f"or dns.rfc2136, {built_in}."
        )
    if _is_local(name, config):
        return f"No public CA issues for {name} (RFC 6761). Take another name, {built_in}."
    return ""
