"""The DNS records that a domain's owner has to set: /api/v1/infrastructure/domains/{domain}/records, and `dns_records` of every
other answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from edgeproxy.control.api.access.caller import caller_of
from edgeproxy.control.api.context import Context, context_of
from edgeproxy.control.api.forms import DomainPath
from edgeproxy.control.api.shapes import moment
from edgeproxy.control.domains.records import DnsRecord
from edgeproxy.model import DomainState

if TYPE_CHECKING:
    from edgeproxy.control.plane import Plane
    from edgeproxy.control.store import Domain

router = APIRouter(prefix="/api/v1/infrastructure", tags=["domains"])


class DnsRecordOut(BaseModel):
    """One of `dns_records`."""

    purpose: Literal["routing", "ownership", "acme"]
    type: str = Field(description="CNAME, A, AAAA or TXT; by method file also FILE: `value` is what it holds, `name` its URL")
    name: str = Field(description="In full, without the dot at its end; of a FILE its URL")
    host_field: str = Field(
        description='The name as it is typed at a DNS provider, who adds the domain. "@": the domain itself. Of a FILE its path'
    )
    value: str
    ttl: int = Field(description="Proposed, in seconds")
    required: bool = Field(description="Whether the domain cannot go on without it; by default exactly one is")
    seen: list[str] = Field(
        description="What is there now, as the last look saw it (for those of the CA: as it was some seconds ago); empty: "
        "nothing, or nobody has looked"
    )
    ok: bool | None = Field(description="Whether it is right; null: nobody has looked, or the DNS did not answer")
    reason: str = Field(description="What is wrong with it and what to change; empty: nothing is")
    zone_line: str = Field(description="The record as a line of a zone file; of a FILE empty")
    hint: str = Field(description="What to type where at the DNS provider, if its name servers tell which it is; else empty")


class DnsRecords(BaseModel):
    """The answer to GET …/domains/{domain}/records."""

    domain: str
    state: DomainState
    looked_at: str | None = Field(description="When `seen` was seen last; null: nobody has looked yet")
    dns_records: list[DnsRecordOut]


@router.get("/domains/{domain}/records", summary="Show the DNS records of a domain")
async def show_records(request: Request, domain: DomainPath) -> DnsRecords:
    """The records that its owner has to set, each with what was seen in its place. POST …/verify looks afresh."""
    context = context_of(request)
    plane = context.open_plane()
    existing = await plane.domains.get(domain)
    caller_of(request).owns(existing.workspace_id, existing.hostname)
    found = await records_of(context, plane, existing, compare=True)
    return DnsRecords(
        domain=existing.hostname,
        state=existing.state,
        looked_at=moment(existing.looked_at),
        dns_records=[DnsRecordOut.model_validate(each.shown()) for each in found],
    )


async def records_of(context: Context, plane: Plane, domain: Domain, *, compare: bool = False) -> list[DnsRecord]:
    """`dns_records` of a domain: what its owner has to set, and what was seen of it if that is remembered. With `compare` those
    of the CA's challenges too have what is there, for which a few seconds may be waited."""
    acme = (await plane.issuance.records([domain.hostname]))[domain.hostname]
    return [*plane.domains.records(domain), *(await plane.domains.compared(acme) if compare else acme)]
