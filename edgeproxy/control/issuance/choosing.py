"""The CA, or the CAs, that the configuration names, and what goes with each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeproxy.config.issuance import Eab
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.authorities import Authorities
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.issuer import Issuer, Published
from edgeproxy.control.issuance.ledger import Ledger
from edgeproxy.control.issuance.ledgers import Ledgers
from edgeproxy.control.store import Store
from edgeproxy.published.seal import Sealer


def issuer_for(config: Config, store: Store, publisher: Published, sealer: Sealer, clock: Callable[[], float]) -> Issuer:
    """The issuer that the configuration names; with fallbacks, all of them behind one."""
    if config.issuance.directory == INTERNAL:
        return InternalIssuer(config, store, Path(config.state.directory), clock)
    first = AcmeIssuer(config, store, publisher, sealer, clock)
    if not config.issuance.fallback:
        return first
    others = [
        AcmeIssuer(for_fallback(config, directory), store, publisher, sealer, clock, fallback=True)
        for directory in config.issuance.fallback
    ]
    return Authorities([first, *others], store, clock)


def ledger_for(config: Config, store: Store, issuer: Issuer, machine: str, clock: Callable[[], float]) -> Ledger | Ledgers:
    """What was spent at the issuer's CA, or at each of its CAs."""
    if isinstance(issuer, Authorities):
        ledgers = [Ledger(config, store, directory, machine, clock) for directory in issuer.directories]
        return Ledgers(ledgers, lambda: issuer.current)
    return Ledger(config, store, issuer.directory, machine, clock)


def for_fallback(config: Config, directory: str) -> Config:
    """The configuration as one of the fallbacks is to see it. Pure."""
    issuance = config.issuance
    own = next((eab for eab in issuance.eab.fallback if eab.split()[0] == directory), None)
    eab = Eab() if own is None else Eab(key_id=own.split()[1], hmac_key=own.split()[2])
    return msgspec.structs.replace(
        config, issuance=msgspec.structs.replace(issuance, directory=directory, fallback=(), eab=eab)
    )
