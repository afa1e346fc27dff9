"""`dns_records`: each record that is wanted, what is there instead, and how it is typed. Pure."""

from __future__ import annotations

import dataclasses

import msgspec

from edgeproxy.control.dns.lookup import Answer
from edgeproxy.control.domains.records import DnsRecord, record
from edgeproxy.control.domains.verification.case import Case, printable, readable
from edgeproxy.control.domains.verification.providers import Provider
from edgeproxy.control.domains.verification.reading import Leads, Text
from edgeproxy.control.domains.verification.seen import FileSaid, Problem, Proof, Seen, State, View
from edgeproxy.control.domains.verification.wanted import PATH, Wanted
from edgeproxy.errors import Fault

ROUTED = (Proof.CNAME, Proof.WORKSPACE_CNAME, Proof.ADDRESS)

NOT_THEIRS = "It could not be checked just now, which is no fault of yours. It is checked again by itself."
"""For who owns the name, where the operator alone can mend what hinders: he is told more, in the domain's `error`."""

SEEN = 8
"""Values that are shown as seen."""


def wanted_records(wanted: Wanted, seen: Seen | None = None) -> tuple[DnsRecord, ...]:
    """What a name's owner has to set, before anybody has looked."""
    return records(Case(wanted=wanted, seen=seen or Seen(), now=0.0), frozenset(), None, looked=False)


def records(case: Case, proven: frozenset[Proof], problem: Problem | None, *, looked: bool = True) -> tuple[DnsRecord, ...]:
    """All of them. One is required: of a name that is proven by TXT or a file, where it points is only once it is proven; of
    one that is proven by its CNAME to the workspace's own target, that one."""
    if problem is not None and problem.state is State.UNSURE and problem.fault is Fault.OPERATOR:
        problem = dataclasses.replace(problem, detail=NOT_THEIRS)
    wanted = case.wanted
    owned = {"dns": Proof.TXT in proven, "file": Proof.FILE in proven}.get(wanted.method, True)
    by_own = case.own_offered and not owned and Proof.WORKSPACE_CNAME in proven
    found = [_routed(case, each, proven, problem, looked=looked) for each in _routing(case, required=owned)]
    if wanted.proof:
        required = not owned and not by_own and wanted.method == "dns"
        found.append(_owning(case, problem, required=required, looked=looked))
    if case.own_offered and not owned:
        found.append(_own(case, proven, required=by_own, looked=looked))
    if wanted.method == "file" and not owned:
        found.append(_file(case, problem, looked=looked))
    return tuple(found)


def _file(case: Case, problem: Problem | None, *, looked: bool) -> DnsRecord:
    """The file that was asked for in place of a DNS record: among the records, so that it is shown with them. Its name
    is where it goes, and its value what it holds."""
    wanted = case.wanted
    found = {each.said for each in case.seen.files}
    ok = None if not looked or not found or FileSaid.FAILED in found else found == {FileSaid.FOUND}
    put = f"Put a file at {wanted.file_url}, with nothing in it but {wanted.proof}."
    told = "" if problem is None else problem.detail
    return DnsRecord(
        purpose="ownership",
        type="FILE",
        name=wanted.file_url,
        host_field=f"{PATH}{wanted.proof}",
        value=wanted.proof,
        ttl=0,
        required=True,
        ok=ok,
        reason="" if ok else told if wanted.proof in told else f"{told} {put}".strip(),
        zone_line="",
    )


def _routing(case: Case, *, required: bool) -> list[DnsRecord]:
    """At the top of a zone one for each of our addresses, of which the first is required."""
    name, target, zone = case.host, case.wanted.target, case.zone
    if case.apex and case.addresses:
        return [
            record("routing", "AAAA" if ":" in each else "A", name, each, required=required and not number, zone=zone)
            for number, each in enumerate(case.addresses)
        ]
    if target:
        return [record("routing", "CNAME", name, target, required=required, zone=zone)]
    return [
        record("routing", "AAAA" if ":" in each else "A", name, each, required=required and not number, zone=zone)
        for number, each in enumerate(case.addresses)
    ]


def _own(case: Case, proven: frozenset[Proof], *, required: bool, looked: bool) -> DnsRecord:
    """What can be set instead of the TXT record."""
    ok = _sure(case, Proof.WORKSPACE_CNAME in proven) if looked else None
    reason = "" if ok else f"Instead of the TXT record: it proves whose {case.host} is, and leads here, both at once."
    return msgspec.structs.replace(
        record("ownership", "CNAME", case.host, case.wanted.own_target, required=required, zone=case.zone),
        seen=_seen([each.view for each in case.authority or case.resolvers]),
        ok=ok,
        reason=reason,
        hint=case.hint(case.host).strip(),
    )


def _sure(case: Case, ok: bool) -> bool | None:
    """None where nobody could say where the name leads."""
    routes = case.authority or case.resolvers
    return ok or (False if any(each.leads is not Leads.UNSURE for each in routes) else None)


def _routed(case: Case, made: DnsRecord, proven: frozenset[Proof], problem: Problem | None, *, looked: bool) -> DnsRecord:
    ok = _sure(case, any(each in proven for each in ROUTED)) if looked else None
    routes = case.authority or case.resolvers
    if ok and made.type in ("A", "AAAA") and not made.required:  # another of ours may be there in its place
        ok = any(made.value in each.view.addresses for each in routes) or None
    reason = "" if ok else _reason(case, problem, made)
    return msgspec.structs.replace(
        made,
        seen=_seen([each.view for each in routes]),
        ok=ok,
        reason=reason,
        hint=case.hint(made.name).strip(),
    )


def _reason(case: Case, problem: Problem | None, made: DnsRecord) -> str:
    if problem is not None and made.required:
        return problem.detail
    if case.apex and made.type == "CNAME":
        return "A CNAME cannot stand at the top of a zone: make it an ALIAS, an ANAME or a flattened CNAME, whichever there is."
    return ""


def _owning(case: Case, problem: Problem | None, *, required: bool, looked: bool) -> DnsRecord:
    made = record("ownership", "TXT", case.wanted.text_name, case.wanted.proof, required=required, zone=case.zone)
    texts = case.authority_texts or case.resolver_texts
    said = {each for _, each in texts}
    ok = None if not looked or said <= {Text.UNSURE} else said <= {Text.PROVEN, Text.UNSURE}
    values = [value for view, _ in texts if view.text is not None for value in view.text.records]
    told = problem.detail if problem is not None and required and problem.state is not State.VERIFIED else ""
    return msgspec.structs.replace(
        made,
        seen=tuple(printable(value) for value in dict.fromkeys(values))[:SEEN],
        ok=ok,
        reason="" if ok else told,
        hint=case.hint(made.name).strip(),
    )


def _seen(views: list[View]) -> tuple[str, ...]:
    """Values, each with its type, since it may be another than the wanted one."""
    found: list[str] = []
    for view in views:
        found += [f"CNAME {readable(view.chain[0])}"] if view.chain else []
        found += [f"{'AAAA' if ':' in address else 'A'} {address}" for address in view.addresses]
    return tuple(dict.fromkeys(found))[:SEEN]


def compared(wanted: DnsRecord, answer: Answer | None, provider: Provider | None = None) -> DnsRecord:
    """Another record, of the CA's challenges, with what a server of its zone says of it; None: nothing is known."""
    hint = provider.hint(wanted.host_field) if provider is not None else ""
    if answer is None or not answer.certain:
        return msgspec.structs.replace(wanted, hint=hint)
    ok, there = wanted.value in answer.records, tuple(printable(value) for value in answer.records)[:SEEN]
    reason = wanted.reason
    if not ok and there:
        reason = f"{wanted.name} has {wanted.type} {there[0]}. Change it to {wanted.type} {wanted.value}. {reason}".strip()
    return msgspec.structs.replace(wanted, seen=there, ok=ok, reason=reason, hint=hint)
