"""What is asked for by who adds a domain, checked: the same for one domain and for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edgeproxy import policies
from edgeproxy.control.api.problems import FieldFault, Refused
from edgeproxy.control.domains.mail_proving import check_mailable
from edgeproxy.control.domains.pairs import partner_of
from edgeproxy.control.domains.reserved import check_operator_origin, check_reserved, check_token_origin, check_workspace
from edgeproxy.control.issuance.registered import registered_domain
from edgeproxy.control.store import Domain, Entry
from edgeproxy.errors import Fault
from edgeproxy.model import DomainState, hostname

if TYPE_CHECKING:
    from edgeproxy.control.api.access.caller import Caller
    from edgeproxy.control.api.context import Context
    from edgeproxy.control.api.shapes import DomainIn
    from edgeproxy.control.plane import Plane


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A domain that may be registered, for all that can be said without the store; as the store has it."""

    name: str
    workspace: str
    origin: str
    redirect_to: str
    metadata: str
    policies: str
    partner: str
    """Its www, or for a www its apex, which is to redirect to it; "": none."""

    def entry(self, actor: str, now: float, *, tells: bool = True) -> Entry:
        """Registered on the operator's word."""
        first = Domain(
            hostname=self.name,
            workspace_id=self.workspace,
            origin=self.origin,
            redirect_to=self.redirect_to,
            metadata=self.metadata,
            policies=self.policies,
            include_www=bool(self.partner),
            state=DomainState.VERIFIED,
            created_at=now,
            updated_at=now,
            verified_at=now,
        )
        if not self.partner:
            return Entry(domains=(first,), actor=actor, tells=tells)
        beside = msgspec.structs.replace(first, hostname=self.partner, redirect_to=self.name)
        return Entry(domains=(first, beside), actor=actor, tells=tells)


def wanted_of(context: Context, caller: Caller, body: DomainIn) -> Wanted:
    """What a body of POST …/domains asks for. Raises InvalidName, Refused or ProofRefused."""
    config = context.config
    name = hostname(body.domain, wildcard=True)
    _check_method(context, name, body)
    check_reserved(name, config)
    workspace = check_workspace(body.workspace_id, config)
    origin = checked_origin(context, caller, body.origin)
    partner = partner_of(name, registered_domain) if body.include_www else ""
    if partner:
        check_reserved(partner, config)
    return Wanted(
        name=name,
        workspace=workspace,
        origin=origin,
        redirect_to=hostname(body.redirect_to) if body.redirect_to else "",
        metadata=stored_metadata(body.metadata),
        policies=policies.merged("", body.policies.given()) if body.policies.model_fields_set else "",
        partner=partner,
    )


async def registered_to_prove(plane: Plane, wanted: Wanted, body: DomainIn, actor: str, *, at_leisure: bool = False) -> Domain:
    """Registers a domain that is to be proven first. `at_leisure`: it is looked at when its turn comes, and not now. Raises
    what `Domains.register` raises, EntitlementDenied and EntitlementUnknown."""
    at_most = await plane.entitlements.allowance(wanted.workspace)
    registered = await plane.domains.register(
        wanted.name,
        wanted.workspace,
        origin=wanted.origin,
        redirect_to=wanted.redirect_to,
        metadata=wanted.metadata,
        policies=wanted.policies,
        partner=wanted.partner,
        at_most=at_most,
        method="cname" if body.method in (None, "email") else body.method,
        actor=actor,
        at_leisure=at_leisure,
    )
    return registered.domain


def checked_origin(context: Context, caller: Caller, url: str) -> str:
    """A domain's own origin, checked by whose word it is; raises InvalidName."""
    check = check_operator_origin if caller.is_operator else check_token_origin
    return check(url, context.config)


def stored_metadata(given: dict[str, str]) -> str:
    """As the store has it."""
    return msgspec.json.encode(given).decode() if given else ""


def _check_method(context: Context, name: str, body: DomainIn) -> None:
    """Raises Refused or ProofRefused for a method by which a new domain cannot be proven."""
    if body.method is not None and not body.verify:
        fault = FieldFault(field="body.method", detail="goes with verify: true; without it nothing has to be proven")
        raise Refused(422, f"{fault.field}: {fault.detail}.", code="invalid_request", fields=(fault,))
    if body.method != "email":
        return
    check_mailable(name)
    if not context.open_plane().mail_proving.is_set:
        raise Refused(
            422,
            "No mail can be sent, so that none can prove a domain: mail.server is not set. Write the [mail] table of the "
            "configuration and reload, or choose another method.",
            code="mail_not_set",
            fault=Fault.OPERATOR,
        )
