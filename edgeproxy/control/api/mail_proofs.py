"""Proofs by mail: /api/v1/infrastructure/domains/{domain}/verify/mail and …/code."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from edgeproxy.control.api.access.caller import caller_of
from edgeproxy.control.api.context import actor_of, context_of
from edgeproxy.control.api.forms import DomainPath
from edgeproxy.control.api.shapes import Body, certain_moment
from edgeproxy.control.issuance.policy import not_registered
from edgeproxy.control.issuance.registered import load
from edgeproxy.control.store import Domain
from edgeproxy.errors import NotFound
from edgeproxy.model import DomainState, hostname

router = APIRouter(prefix="/api/v1/infrastructure", tags=["domains"])


class MailSent(BaseModel):
    """The answer to POST …/verify/mail."""

    sent_to: list[str] = Field(description="Whoever reads one of these mailboxes can confirm the domain")
    expires_at: str = Field(description="Until when link and code count")


class CodeIn(Body):
    """POST …/verify/code."""

    code: str = Field(min_length=1, max_length=32, description="Of the mail, with or without spaces", examples=["1234 5678"])


class CodeTaken(BaseModel):
    """The answer to POST …/verify/code."""

    verified: bool
    state: DomainState = Field(description="awaiting_cutover: it is looked whether the name leads here already")


@router.post("/domains/{domain}/verify/mail", summary="Send a mail by which a domain's owner proves it")
async def send_mail(request: Request, domain: DomainPath) -> MailSent:
    """Sends a link and a code to admin@, administrator@, webmaster@, hostmaster@ and postmaster@ of the registered domain.
    Those of a mail before count no more. Not for wildcards, nor for names that only a TXT record proves."""
    plane = context_of(request).open_plane()
    existing = await _existing(request, domain)
    await asyncio.to_thread(load)  # of public suffixes, which takes 80 ms once
    proof = await plane.mail_proving.send(existing, actor=actor_of(request))
    return MailSent(sent_to=proof.addresses.split(), expires_at=certain_moment(proof.expires_at))


@router.post("/domains/{domain}/verify/code", summary="Prove a domain by the code of a mail")
async def take_code(request: Request, domain: DomainPath, body: CodeIn) -> CodeTaken:
    """Takes the code of the last mail. Five may be tried."""
    plane = context_of(request).open_plane()
    existing = await _existing(request, domain)
    proven = await plane.mail_proving.confirm_code(existing, body.code, actor=actor_of(request))
    return CodeTaken(verified=proven.verified_at is not None, state=proven.state)


async def _existing(request: Request, text: str) -> Domain:
    name = hostname(text[:512], wildcard=True)
    domain = await context_of(request).open_plane().store.get_domain(name)
    if domain is None:
        raise NotFound(not_registered(name))
    caller_of(request).owns(domain.workspace_id, domain.hostname)
    return domain
