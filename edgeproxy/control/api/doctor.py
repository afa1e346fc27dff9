"""What the world sees of a name, and what has to be changed: /api/v1/infrastructure/doctor/{domain}."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Query as InQuery
from pydantic import BaseModel, Field

from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.control.api.context import context_of
from edgeproxy.control.api.forms import DomainPath
from edgeproxy.control.api.problems import Refused
from edgeproxy.control.api.shapes import Query
from edgeproxy.control.doctor.diagnosis import diagnose
from edgeproxy.control.doctor.examine import PUBLIC, RESOLVERS, examine
from edgeproxy.model import hostname

router = APIRouter(prefix="/api/v1/infrastructure", tags=["doctor"])


class DoctorQuery(Query):
    """GET …/doctor/{domain}."""

    resolvers: str = Field(default="", max_length=512, description="More resolvers to ask: ADDRESS:PORT, with commas between")
    public: bool = Field(default=False, description="Ask some public resolvers too, which then know the name")


class ChangeOut(BaseModel):
    """Something that has to become otherwise."""

    who: str = Field(description="customer_dns or operator")
    what: str
    present: str
    wanted: str
    why: str


class FindingOut(BaseModel):
    """One thing that was looked at."""

    about: str
    level: str = Field(description="ok, note, unknown or wrong")
    text: str


class DoctorOut(BaseModel):
    """What was found out."""

    domain: str
    well: bool = Field(description="Nothing is to be changed, and nothing is wrong")
    changes: list[ChangeOut]
    findings: list[FindingOut]


@router.get("/doctor/{domain}", summary="What is wrong with a name, and what to change")
async def doctor(request: Request, domain: DomainPath, query: Annotated[DoctorQuery, InQuery()]) -> DoctorOut:
    """Asks the DNS, the CA and our own listener; takes seconds, some tens where the DNS is silent."""
    context = context_of(request)
    plane = context.open_plane()
    name = hostname(domain[:512], wildcard=True)
    others = _resolvers(query.resolvers) + list(PUBLIC if query.public else ())
    issuance = plane.issuance
    looked_for = context.config, plane.store, name, context.now, others
    report = diagnose(await examine(*looked_for, failed=issuance.failure, turn_of=issuance.turn_of, looker=plane.looker))
    return DoctorOut(
        domain=name,
        well=report.well,
        changes=[
            ChangeOut(who=each.who.value, what=each.what, present=each.present, wanted=each.wanted, why=each.why)
            for each in report.changes
        ],
        findings=[FindingOut(about=each.about, level=each.level.value, text=each.text) for each in report.findings],
    )


def _resolvers(text: str) -> list[str]:
    """Checked; an address without a port means port 53."""
    found = []
    for each in filter(None, (part.strip() for part in text.split(","))):
        for spelt in (each, f"{each}:53", f"[{each}]:53"):
            try:
                host, port = socket_address(spelt)
            except ValueError:
                continue
            found.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            break
        else:
            raise Refused(
                422, f"{each!r} is not a resolver. Write one like 192.0.2.53 or 192.0.2.53:53.", code="invalid_resolver"
            )
    if len(found) > RESOLVERS - len(PUBLIC):
        raise Refused(422, f"At most {RESOLVERS - len(PUBLIC)} resolvers can be asked at once.", code="too_many_resolvers")
    return found
