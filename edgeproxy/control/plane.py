"""The parts of the control plane that need an open store, opened and closed together."""

from __future__ import annotations

import asyncio
import dataclasses
import grp
import time
from collections.abc import Callable

from anyio.to_thread import run_sync

from edgeproxy import keys
from edgeproxy.config.structs import Config
from edgeproxy.control.alerts.notifying import Notifier
from edgeproxy.control.alerts.reading import reader
from edgeproxy.control.alerts.watch import Alerts
from edgeproxy.control.dns.authority import Authority
from edgeproxy.control.domains.mail_proving import MailProving
from edgeproxy.control.domains.paying import Entitlements
from edgeproxy.control.domains.probing import Visitor
from edgeproxy.control.domains.reconciler import Reconciler
from edgeproxy.control.domains.removing import Removals
from edgeproxy.control.domains.service import Domains
from edgeproxy.control.domains.telling import describing
from edgeproxy.control.domains.verification.ca import Directories
from edgeproxy.control.domains.verification.looker import Looker
from edgeproxy.control.instance import machine_id
from edgeproxy.control.issuance.acme.revocation import Revoker
from edgeproxy.control.issuance.lifecycle import Lifecycle
from edgeproxy.control.issuance.service import Issuance, issuer_for
from edgeproxy.control.mail import Mailer
from edgeproxy.control.metrics import Metrics
from edgeproxy.control.probe.daily import Probe
from edgeproxy.control.publish import Publisher
from edgeproxy.control.store import Store
from edgeproxy.control.tickets import TicketSecrets
from edgeproxy.control.webhooks.delivery import Webhooks
from edgeproxy.errors import ConfigError
from edgeproxy.link.start import ChildStart
from edgeproxy.published.seal import Sealer
from edgeproxy.published.writer import MapWriter


@dataclasses.dataclass(frozen=True, slots=True)
class Plane:
    """Store, publisher, issuance, what befalls certificates and domains, and ticket secrets of one process."""

    store: Store
    writer: MapWriter
    publisher: Publisher
    issuance: Issuance
    lifecycle: Lifecycle
    tickets: TicketSecrets
    probe: Probe
    webhooks: Webhooks
    entitlements: Entitlements
    mailer: Mailer
    domains: Domains
    looker: Looker
    authorities: Directories
    """What the CAs say of themselves, for CAA records."""
    reconciler: Reconciler
    removals: Removals
    mail_proving: MailProving
    alerts: Alerts | None = None
    """None where nobody is to be told."""
    authority: Authority | None = None
    """What our zone says; None where there is none."""

    async def close(self) -> None:
        """Ends them. What issuance had under way is continued by the next process."""
        await self.reconciler.close()
        await self.looker.close()
        await self.authorities.close()
        await self.issuance.close()
        await self.webhooks.close()
        await self.entitlements.close()
        await run_sync(self.writer.close)
        await self.store.close()


async def open_plane(start: ChildStart, metrics: Metrics, *, now: Callable[[], float] = time.time) -> Plane:
    """Opens the store (making or migrating it where due) and the map. Raises StateError, MapError or ConfigError, with
    nothing left open; nothing was overwritten then."""
    config, directory = start.config, start.state_directory
    root = keys.root_key(config, directory, may_create=not start.serving)
    map_sealer = Sealer(keys.derive(root, "map"))
    group = _group(config)
    store = await Store.open(
        config, directory, Sealer(keys.derive(root, "store")), account_sealer=Sealer(keys.derive(root, "acme"))
    )
    try:
        await store.check_key(now())
        machine = await run_sync(machine_id, directory)
        writer = await run_sync(lambda: MapWriter(directory, group=group))
    except BaseException:
        await store.close()
        raise
    authority = Authority(config, store) if config.dns.zone else None
    publisher = Publisher(
        store, writer, edge_names(config), patterns(config), on_challenges=authority.follow if authority else None
    )
    issuer = issuer_for(config, store, publisher, map_sealer, now)
    issuance = Issuance(config, store, publisher, map_sealer, now, issuer=issuer, meter=metrics, machine=machine)
    revoker = Revoker(config, store, now, asyncio.get_running_loop().time)
    authorities = Directories(config, store, now)
    looker = Looker(config, now, authorities)
    reconciler = Reconciler(config, store, looker, issuance, Visitor(config, store, now), now, machine=machine)
    domains = Domains(config, store, looker, reconciler, now, proof_key=keys.derive(root, "proofs"))
    store.database.describe = describing(config, domains, issuance)
    mailer = Mailer(config)
    return Plane(
        store=store,
        writer=writer,
        publisher=publisher,
        issuance=issuance,
        lifecycle=Lifecycle(config, store, publisher, map_sealer, issuance, issuer, revoker, now),
        tickets=TicketSecrets(store, map_sealer, now),
        authority=authority,
        probe=Probe(config, store, now),
        webhooks=Webhooks(config, store, now),
        entitlements=Entitlements(config, store, now, wake=reconciler.wake),
        domains=domains,
        looker=looker,
        authorities=authorities,
        reconciler=reconciler,
        removals=Removals(config, store, now),
        mailer=mailer,
        mail_proving=MailProving(config, store, mailer, now, key=keys.derive(root, "proofs"), wake=reconciler.wake),
        alerts=_alerts(config, store, metrics, issuance),
    )


def edge_names(config: Config) -> list[str]:
    """The platform's own names, which nobody's registration can take over. Pure."""
    names = [config.platform.cname_target, config.api.hostname]
    if config.platform.name:
        names.append(f"*.{config.platform.name}")
    return [name for name in names if name]


def patterns(config: Config) -> list[str]:
    """Names that are served once they have a certificate, unless somebody registered them. The name for clients without
    SNI is one of them: it may be a customer's, or nobody's. Pure."""
    return [name for name in (*config.issuance.allow.patterns, config.tls.default_hostname) if name]


def _alerts(config: Config, store: Store, metrics: Metrics, issuance: Issuance) -> Alerts | None:
    if not config.alerts.notify:
        return None
    return Alerts(config.alerts, store, Notifier(config.alerts.notify), reader(metrics, issuance))


def _group(config: Config) -> int | None:
    """The id of the group that may read the map; None for this process's own."""
    name = config.process.group
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"process.group: there is no group {name!r} on this machine. Make it (groupadd {name}).") from None
