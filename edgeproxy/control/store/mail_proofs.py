"""Mails that were sent to prove domains. What proves them is not here, only digests of it."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert

from edgeproxy.control.store.base import Part, fields
from edgeproxy.control.store.domains import audited
from edgeproxy.control.store.rows.domains import MailProof
from edgeproxy.control.store.schema import mail_proofs

KEPT_SECONDS = 2 * 86_400.0
"""How long a row is kept: after its end it still counts for how often mail may be sent."""


class MailProofs(Part):
    """Hostnames are normalised (`model.hostname`) by the caller."""

    async def mail_proof(self, hostname: str) -> MailProof | None:
        """The last mail for a name."""
        async with self.database.read() as connection:
            row = (await connection.execute(select(mail_proofs).where(mail_proofs.c.hostname == hostname))).first()
        return None if row is None else MailProof(**fields(row))

    async def mail_proof_of_link(self, link_digest: bytes) -> MailProof | None:
        """The mail whose link has this digest, if no other one was sent for its name since."""
        async with self.database.read() as connection:
            row = (await connection.execute(select(mail_proofs).where(mail_proofs.c.link_digest == link_digest))).first()
        return None if row is None else MailProof(**fields(row))

    async def mails_sent(self, addresses: str, workspace_id: str, since: float) -> tuple[int, int]:
        """How many mails were sent since then: to these addresses, and for this workspace."""
        lately = select(func.coalesce(func.sum(mail_proofs.c.sends), 0)).where(mail_proofs.c.sent_at > since)
        async with self.database.read() as connection:
            to_them = await connection.scalar(lately.where(mail_proofs.c.addresses == addresses))
            for_it = await connection.scalar(lately.where(mail_proofs.c.workspace_id == workspace_id))
        return int(to_them or 0), int(for_it or 0)

    async def put_mail_proof(self, proof: MailProof, *, actor: str, now: float, audit: bool = True) -> None:
        """Notes a mail that is sent now; links and codes of those before it are worth nothing any more. Without `audit` it is
        put back as it was."""
        values = msgspec.structs.asdict(proof)
        statement = insert(mail_proofs).values(**values)
        async with self.database.write() as write:
            await write.connection.execute(statement.on_conflict_do_update(index_elements=["hostname"], set_=values))
            if audit:
                detail = f"workspace {proof.workspace_id}, to {proof.addresses}"
                await audited(write, now, actor, "domain.mailed", proof.hostname, detail)
            if self._clean_due("mail_proofs"):
                await write.connection.execute(delete(mail_proofs).where(mail_proofs.c.sent_at <= now - KEPT_SECONDS))

    async def note_mail_try(self, hostname: str) -> int:
        """Counts a try of a code, before it is looked at; how many there were with it. 0 where there is no mail."""
        tried = mail_proofs.update().where(mail_proofs.c.hostname == hostname).values(tries=mail_proofs.c.tries + 1)
        async with self.database.write() as write:
            return int(await write.connection.scalar(tried.returning(mail_proofs.c.tries)) or 0)

    async def end_mail_proof(self, proof: MailProof) -> None:
        """Makes a mail worth nothing any more. That it was sent still counts."""
        same = (mail_proofs.c.hostname == proof.hostname) & (mail_proofs.c.link_digest == proof.link_digest)
        async with self.database.write() as write:
            await write.connection.execute(mail_proofs.update().where(same).values(expires_at=0.0))

    async def delete_mail_proof(self, hostname: str) -> None:
        """Forgets the mail of a name: it was not sent after all."""
        async with self.database.write() as write:
            await write.connection.execute(delete(mail_proofs).where(mail_proofs.c.hostname == hostname))
