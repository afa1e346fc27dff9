"""Which CAs the configuration names, and what goes with each."""

from __future__ import annotations

from pathlib import Path

from edgeproxy.config.issuance import Eab, Issuance
from edgeproxy.config.machine import State
from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.issuer import AcmeIssuer
from edgeproxy.control.issuance.authorities import Authorities
from edgeproxy.control.issuance.choosing import for_fallback, issuer_for, ledger_for
from edgeproxy.control.issuance.internal import InternalIssuer
from edgeproxy.control.issuance.issuer import Issuer
from edgeproxy.control.issuance.ledger import Ledger
from edgeproxy.control.issuance.ledgers import Ledgers
from edgeproxy.published.seal import Sealer
from tests.control.store.making import NOW, opened

FIRST, OTHER, THIRD = "https://ca.example/dir", "https://other.example/dir", "https://third.example/dir"


class Published:
    async def published(self, number: int) -> None:
        """At once."""


def config(folder: Path, directory: str, *fallback: str) -> Config:
    return Config(state=State(directory=str(folder)), issuance=Issuance(directory=directory, fallback=fallback))


async def test_one_ca_stands_for_itself_and_several_behind_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:

        def chosen(*directories: str) -> tuple[Issuer, Ledger | Ledgers]:
            settings = config(tmp_path, *directories)
            issuer = issuer_for(settings, store, Published(), Sealer(b"m" * 32), lambda: NOW)
            return issuer, ledger_for(settings, store, issuer, "m1", lambda: NOW)

        internal, alone = chosen("internal")
        assert isinstance(internal, InternalIssuer)
        assert isinstance(alone, Ledger)
        assert alone.alone
        acme, ledger = chosen(FIRST)
        assert isinstance(acme, AcmeIssuer)
        assert isinstance(ledger, Ledger)
        several, ledgers = chosen(FIRST, OTHER, THIRD)
        assert isinstance(several, Authorities)
        assert isinstance(ledgers, Ledgers)
        assert several.directories == tuple(ledgers.budgets()) == (FIRST, OTHER, THIRD)
        for issuer in (internal, acme, several):
            await issuer.close()


def test_each_fallback_has_its_own_external_account(tmp_path: Path) -> None:
    eab = Eab(key_id="k", hmac_key="h", fallback=(f"{OTHER} other-key aG1hYw",))
    settings = Config(issuance=Issuance(directory=FIRST, fallback=(OTHER, THIRD), eab=eab, profile="shortlived"))
    other = for_fallback(settings, OTHER).issuance
    assert (other.directory, other.fallback, other.eab.key_id, other.eab.hmac_key) == (OTHER, (), "other-key", "aG1hYw")
    assert other.profile == "shortlived"
    assert for_fallback(settings, THIRD).issuance.eab == Eab()
