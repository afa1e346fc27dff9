"""Domains that are proven by mail: sent, confirmed by link or code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.lifecycle import Event, next_move
from edgeproxy.control.domains.mail_proof import (
    DAY,
    LIFETIME,
    TRIES,
    ProofRefused,
    addresses,
    check_pace,
    code_digest,
    is_code,
    letter,
    link_digest,
    made,
    sends,
)
from edgeproxy.control.issuance.registered import registered_domain
from edgeproxy.control.mail import Mailer, MailFailed
from edgeproxy.control.store import Domain, MailProof, Store
from edgeproxy.errors import Conflict
from edgeproxy.model import DomainState

log = structlog.get_logger("domains")

WAITING = frozenset((DomainState.PENDING_VALIDATION, DomainState.PARKED))

ATTEMPTS = 3
"""How often a step is tried whose row somebody else changes at the same moment."""

PAGE_PATH = "/confirm/"
"""Under `api.hostname`: where links lead."""


class MailProving:
    """One per controller. `clock` gives Unix time; `key` is a secret from which digests of codes are made, and `wake` is
    called when there is a domain to be looked at."""

    def __init__(
        self,
        config: Config,
        store: Store,
        mailer: Mailer,
        clock: Callable[[], float],
        *,
        key: bytes,
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._store = store
        self._mailer = mailer
        self._clock = clock
        self._key = key
        self._wake = wake
        self._deciding = asyncio.Lock()

    @property
    def is_set(self) -> bool:
        """Whether mail can be sent at all."""
        return self._mailer.is_set

    async def send(self, domain: Domain, *, actor: str) -> MailProof:
        """Sends a mail to who speaks for the domain. Raises ProofRefused where it cannot be proven so, TooManyMails, and
        MailFailed; then what was sent before still counts."""
        check_provable(domain)
        registered = await asyncio.to_thread(registered_domain, domain.hostname)
        link, code = made()
        async with self._deciding:
            now = self._clock()
            before = await self._store.mail_proof(domain.hostname)
            recipients = addresses(registered)
            proof = MailProof(
                hostname=domain.hostname,
                workspace_id=domain.workspace_id,
                addresses=" ".join(recipients),
                link_digest=link_digest(link),
                code_digest=code_digest(self._key, domain.hostname, code),
                sends=sends(before, now),
                sent_at=now,
                expires_at=now + LIFETIME,
            )
            check_pace(before, *await self._store.mails_sent(proof.addresses, domain.workspace_id, now - DAY), now)
            await self._store.put_mail_proof(proof, actor=actor, now=now)
        said = letter(
            domain.hostname,
            registered,
            domain.workspace_id,
            platform=self._config.platform.name or self._config.api.hostname or "a platform",
            link=self._page(link),
            code=code,
            expires_at=proof.expires_at,
        )
        try:
            await self._mailer.send(recipients, said.subject, said.text, said.html)
        except MailFailed:
            if before is None:
                await self._store.delete_mail_proof(domain.hostname)
            else:
                await self._store.put_mail_proof(before, actor=actor, now=now, audit=False)
            raise
        log.info("a mail was sent to prove a domain", domain=domain.hostname, workspace=domain.workspace_id, actor=actor)
        return proof

    async def confirm_code(self, domain: Domain, code: str, *, actor: str) -> Domain:
        """Has the domain proven by the code of its last mail. Raises ProofRefused."""
        proof = await self._store.mail_proof(domain.hostname)
        if proof is None or proof.workspace_id != domain.workspace_id or proof.expires_at <= self._clock():
            raise ProofRefused(f"No code counts for {domain.hostname} now. Have a mail sent, or another one.", code="no_mail")
        if await self._store.note_mail_try(domain.hostname) > TRIES:
            raise ProofRefused(
                f"{TRIES} codes were tried for {domain.hostname}, which is as many as may be. Have another mail sent.",
                code="too_many_tries",
            )
        if not is_code(proof, self._key, code):
            raise ProofRefused("This is not the code of the last mail. Look whether there is a newer one.", code="wrong_code")
        return await self._prove(proof, actor)

    async def of_link(self, link: str) -> MailProof | None:
        """The mail that a link is from, as long as it counts and there is something to confirm."""
        proof = await self._store.mail_proof_of_link(link_digest(link))
        if proof is None or proof.expires_at <= self._clock():
            return None
        domain = await self._store.get_domain(proof.hostname)
        same = domain is not None and domain.workspace_id == proof.workspace_id
        return proof if same and domain is not None and domain.state in WAITING and not domain.must_prove else None

    async def confirm_link(self, link: str) -> Domain:
        """Has the domain proven that a link is from. Raises ProofRefused."""
        proof = await self.of_link(link)
        if proof is None:
            raise ProofRefused("This link does not count any more, or never did. Have another mail sent.", code="no_mail")
        return await self._prove(proof, f"mail to {proof.addresses.rpartition('@')[2]}")

    async def _prove(self, proof: MailProof, actor: str) -> Domain:
        """Moves a domain on, once. It may not lead here yet: that is looked at from now on."""
        for _ in range(ATTEMPTS):
            now = self._clock()
            before = await self._store.get_domain(proof.hostname)
            if before is None or before.workspace_id != proof.workspace_id:
                raise ProofRefused(f"{proof.hostname} is not registered any more: there is nothing to prove.", code="no_mail")
            if before.verified_at is not None:
                return before
            check_provable(before)
            event = Event.WANTED if before.state is DomainState.PARKED else Event.PROVEN_AHEAD
            move = next_move(before.state, event)
            proven = event is Event.PROVEN_AHEAD
            after = msgspec.structs.replace(
                before,
                state=move.state,
                verified_at=now if proven else None,
                method="email" if proven else before.method,
                parked_at=None,
                next_look=now,
                looking_since=now,
                error_code="",
                error_detail="",
                error_fault="",
            )
            detail = f"{before.state.value} to {move.state.value}" + (", proven by mail" if proven else "")
            done = await self._store.advance_domain(
                before, after, emits=move.emits, action="domain.state", detail=detail, actor=actor, now=now
            )
            if done is not None and proven:
                await self._store.end_mail_proof(proof)
                self._wake()
                log.info("a domain is proven by mail", domain=done.hostname, workspace=done.workspace_id)
                return done
        raise Conflict(
            f"{proof.hostname} is being changed by others at this moment. Try again.", code="contended", retryable=True
        )

    def _page(self, link: str) -> str:
        host, port = self._config.api.hostname, self._config.listen.public_https_port
        if not host:
            return ""
        return f"https://{host}{'' if port == 443 else f':{port}'}{PAGE_PATH}{link}"


def check_provable(domain: Domain) -> None:
    """Raises ProofRefused where no mail can prove a domain. Pure."""
    name = domain.hostname
    check_mailable(name)
    if domain.must_prove:
        raise ProofRefused(
            f"{name} was used here before, perhaps by somebody else: only its TXT record proves whose it is now.",
            code="proof_needed",
        )
    if domain.verified_at is not None or domain.state not in WAITING:
        raise ProofRefused(f"{name} is {domain.state.value}: there is nothing to prove.", code="nothing_to_prove")


def check_mailable(name: str) -> None:
    """Raises ProofRefused for a name that no mail can prove, whoever it belongs to. Pure."""
    if name.startswith("*."):
        raise ProofRefused(f"{name} stands for every name beneath it: only its TXT record proves it.", code="proof_needed")
