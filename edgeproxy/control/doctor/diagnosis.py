"""From what is known of a name to what has to be changed. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime

from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.doctor.report import Change, Facts, Finding, Level, Report, View
from edgeproxy.control.domains.verification.seen import Dnssec, State
from edgeproxy.control.probe.grading import Grade
from edgeproxy.errors import Fault

NAMED = frozenset(
    (
        *("proxied", "leftover_record", "record_doubled", "cname_loop", "cname_of_another", "propagating", "servers_differ"),
        *("nameservers_differ", "zone_not_served", "domain_missing", "dnssec_bogus", "txt_differs"),
    )
)
"""Verdicts that say more than that a record is missing or another one."""


def diagnose(facts: Facts) -> Report:
    """All that is to be said of a name: what to change, the most important first, and what was looked at."""
    parts: list[Change | Finding] = [*_standing(facts)]
    if not facts.views:
        parts.append(Finding("dns", Level.OK, f"{facts.hostname} is this machine for every browser, without DNS (RFC 6761)."))
    pointed = _explained(facts, [_pointing(facts, view) for view in facts.views])
    parts += [part for found in pointed for part in found]
    parts += _delegation(facts)
    parts += _own_target(facts)
    parts += _caa(facts)
    here = not any(isinstance(part, Change) for found in pointed for part in found)
    parts += _ports(facts, here=here)
    parts += _issuable(facts)
    parts += _certificate(facts, here=here)
    parts += _replacing(facts)
    parts += _last_error(facts)
    changes = dict.fromkeys(part for part in parts if isinstance(part, Change))
    # Several resolvers that see the same wrong record are one thing to change.
    by_subject = {(change.what, change.present): change for change in reversed(list(changes))}
    kept = [change for change in changes if by_subject[change.what, change.present] is change]
    if facts.standing.unproven and any(change.who is Fault.CUSTOMER_DNS for change in kept):
        kept = [change for change in kept if change.what != _ours(facts)]  # it follows by itself
    return Report(tuple(kept), tuple(part for part in parts if isinstance(part, Finding)))


def _standing(facts: Facts) -> Iterator[Change | Finding]:
    standing = facts.standing
    yield Finding("registration", Level.OK if standing.admitted else Level.WRONG, standing.reason)
    if not standing.admitted and standing.cure:
        yield Change(
            who=Fault.OPERATOR,
            what=_ours(facts),
            present="not admitted",
            wanted="admitted",
            why=f"{standing.reason} {standing.cure}",
        )


def _ours(facts: Facts) -> str:
    return f"what this edge knows of {facts.hostname}"


def _pointing(facts: Facts, view: View) -> list[Change | Finding]:
    """Whether the name points at this edge, as one resolver sees it."""
    host, level = facts.hostname, Level.WRONG if view.decides else Level.NOTE
    answers = (view.ipv4, view.ipv6)
    uncertain = [answer for answer in answers if not answer.certain]
    if uncertain and not view.addresses and not view.chain:
        return _no_answer(
            facts,
            view,
            broken=any(answer.said is Said.BROKEN and answer.fault is Fault.CUSTOMER_DNS for answer in uncertain),
            detail=uncertain[0].detail,
        )
    seen = _seen(view)
    if not facts.cname_target and not facts.addresses:
        return [_unmeasured(facts, view, seen)]
    ours = facts.addresses | view.target_addresses
    strange = [address for address in view.addresses if address not in ours]
    if facts.cname_target and facts.cname_target in view.chain:
        return _by_target(facts, view)
    if view.addresses and not strange:
        return [Finding("dns", Level.OK, f"{_start(view.who)} sees {host} at {seen}: this edge.")]
    text = f"{_start(view.who)} sees {host} as {seen}." if seen else f"{_start(view.who)} knows no address of {host}."
    found: list[Change | Finding] = [Finding("dns", level, f"{text} {_why(facts, view, strange)}")]
    if view.decides:
        partly = bool(strange) and len(strange) < len(view.addresses)
        found.append(
            Change(
                who=Fault.CUSTOMER_DNS,
                what=f"the DNS records of {host}",
                present=seen or ("there is no such name" if view.ipv4.said is Said.NO_NAME else "no address"),
                wanted=f"only {_records(sorted(set(view.addresses) - set(strange)))}" if partly else _wanted(facts, view),
                why=_why(facts, view, strange),
            )
        )
    return found


def _explained(facts: Facts, pointed: list[list[Change | Finding]]) -> list[list[Change | Finding]]:
    """The same with the mistake by its name, where it is known by one."""
    verdict = facts.verdict
    if verdict is None:
        return pointed
    told: list[Change | Finding] = []
    if verdict.dnssec in (Dnssec.SIGNED, Dnssec.UNSIGNED):
        signed = "are signed" if verdict.dnssec is Dnssec.SIGNED else "are not signed"
        told.append(Finding("dns", Level.OK, f"The answers for {facts.hostname} {signed} (DNSSEC), as far as resolvers tell."))
    nobody = not facts.standing.workspace_id and verdict.code == "cname_of_another"  # whose it will be is not known
    if verdict.state is State.VERIFIED or verdict.code not in NAMED or nobody:
        hint = verdict.records[0].hint if verdict.records else ""
        return [*([_hinted(part, hint) for part in found] for found in pointed), told]
    if verdict.code == "propagating":  # nothing has to be changed but what is remembered
        told.append(Finding("dns", Level.WRONG, verdict.detail))
    else:
        told.append(
            Change(who=verdict.fault, what=verdict.what, present=verdict.present, wanted=verdict.wanted, why=verdict.detail)
        )
    theirs = ([part for part in found if not _is_of_customer(part)] for found in pointed)
    return [*theirs, told]


def _is_of_customer(part: Change | Finding) -> bool:
    return isinstance(part, Change) and part.who is Fault.CUSTOMER_DNS


def _hinted(part: Change | Finding, hint: str) -> Change | Finding:
    """What to type where, beside what has to be there."""
    if not hint or not isinstance(part, Change) or not _is_of_customer(part):
        return part
    return dataclasses.replace(part, why=f"{part.why} {hint}")


def _unmeasured(facts: Facts, view: View, seen: str) -> Finding:
    """What one resolver sees, where nobody has said what it should see."""
    start, cure = _start(view.who), "set platform.cname_target and platform.addresses."
    if view.addresses:
        text = f"{start} sees {facts.hostname} as {seen}. Whether that is this edge cannot be said: {cure}"
        return Finding("dns", Level.UNKNOWN, text)
    text = f"{start} knows no address of {facts.hostname}. {_why(facts, view, [])} For the record that it needs, {cure}"
    return Finding("dns", Level.WRONG if view.decides else Level.NOTE, text)


def _no_answer(facts: Facts, view: View, *, broken: bool, detail: str) -> list[Change | Finding]:
    if not broken or not view.decides:
        return [Finding("dns", Level.UNKNOWN, f"{_start(view.who)} gave no answer. {detail}")]
    why = (
        "Its name servers answer with an error, so that neither visitors nor a CA find it. Often that is DNSSEC: a DS record "
        "at the registrar that no longer fits the zone's keys; or name servers that do not know the zone."
    )
    return [
        Finding("dns", Level.WRONG, f"{_start(view.who)} gets an error for {facts.hostname}. {detail}"),
        Change(
            who=Fault.CUSTOMER_DNS,
            what=f"the name servers of {facts.hostname}",
            present="SERVFAIL or another error",
            wanted=f"an answer; then {_wanted(facts, view)}",
            why=why,
        ),
    ]


def _by_target(facts: Facts, view: View) -> list[Change | Finding]:
    """The CNAME is right; where it ends is the operator's."""
    text = f"{_start(view.who)} sees the CNAME from {facts.hostname} to {facts.cname_target}, as it must be"
    if view.addresses:
        return [Finding("dns", Level.OK, f"{text}, and {_records(view.addresses)} behind it.")]
    change = Change(
        who=Fault.OPERATOR,
        what=f"the DNS records of {facts.cname_target}",
        present="no address",
        wanted=_records(sorted(facts.addresses)) or "an A record with the address of this edge",
        why=f"Customers point their names at {facts.cname_target} (platform.cname_target), and it leads nowhere.",
    )
    return [Finding("dns", Level.WRONG, f"{text}. But {facts.cname_target} has no address."), change]


def _why(facts: Facts, view: View, strange: list[str]) -> str:
    """What is wrong with where a name points, in a sentence or two."""
    if not view.addresses:
        if not view.decides:
            return "Whoever asks that one does not find it."
        led = f"Its CNAME leads to {view.chain[-1]}, which has no address. " if view.chain else ""
        return f"{led}Visitors do not find it, and no CA can check it."
    if len(strange) < len(view.addresses):
        return f"{', '.join(strange)} is not this edge: some visitors, and the CA, come out elsewhere."
    served = facts.served
    if served is not None and served.grade in (Grade.GOOD, Grade.OTHER, Grade.EXPIRING):
        return (
            f"That is not this edge. Another server answers for the name there, with a certificate from {served.issuer}. If it "
            "is a proxy or CDN before this edge, switch it off for this name, so that the record itself points here."
        )
    return "That is not this edge: visitors, and the CA, come out elsewhere."


def _wanted(facts: Facts, view: View) -> str:
    target, addresses = facts.cname_target, facts.addresses or view.target_addresses
    if target and not facts.apex:
        return f"CNAME {target}"
    if addresses:
        return _records(sorted(addresses))
    return f"ALIAS or ANAME {target} (a CNAME cannot stand at the top of a zone), or A records that the operator names"


def _delegation(facts: Facts) -> Iterator[Change | Finding]:
    delegation = facts.delegation
    if delegation is None:
        return
    name, wanted, answer = delegation.name, delegation.wanted, delegation.answer
    if answer.records == (wanted,):
        yield Finding("dns", Level.OK, f"The CNAME from {name} to {wanted} is there, for DNS-01.")
        return
    if not answer.certain:
        yield Finding("dns", Level.UNKNOWN, f"Whether {name} is the CNAME that DNS-01 needs is not known. {answer.detail}")
        return
    present = f"CNAME {answer.records[0]}" if answer.records else "no CNAME"
    why = "A CA issues wildcard certificates by DNS-01 only, and looks there for the edge's answer."
    yield Finding("dns", Level.WRONG, f"{name} has {present}; DNS-01 needs the CNAME {wanted} there.")
    who = Fault.OPERATOR if delegation.own else Fault.CUSTOMER_DNS
    yield Change(who=who, what=f"the DNS records of {name}", present=present, wanted=f"CNAME {wanted}", why=why)


def _own_target(facts: Facts) -> Iterator[Change | Finding]:
    """Whether the target that only the name's workspace has leads here, which is the operator's to see to."""
    own = facts.own_target
    if own is None:
        return
    chain = {alias for answer in own.answers for alias in answer.chain}
    seen = [record for answer in own.answers for record in answer.records]
    strange = set(seen) - facts.addresses - facts.views[0].target_addresses
    if facts.cname_target in chain or (seen and not strange):
        yield Finding("dns", Level.OK, f"{own.name}, the target of this workspace alone, leads to this edge.")
        return
    unsure = next((answer for answer in own.answers if not answer.certain), None)
    if unsure is not None:
        yield Finding("dns", Level.UNKNOWN, f"Whether {own.name} leads to this edge is not known. {unsure.detail}")
        return
    present, wildcard = _records(seen) or "no address", f"*.{facts.cname_target}"
    why = (
        f"A workspace can show whose a name is by a CNAME to the target that only it has, {own.name}. Whoever sets that is "
        f"verified, and its visitors find {'another server' if seen else 'nothing'} there."
    )
    yield Finding("dns", Level.WRONG, f"{own.name} has {present}: the record {wildcard} is missing, or wrong.")
    yield Change(
        who=Fault.OPERATOR,
        what=f"the DNS records of {wildcard}",
        present=present,
        wanted=f"CNAME {facts.cname_target}",
        why=why,
    )


def _caa(facts: Facts) -> Iterator[Change | Finding]:
    caa = facts.caa
    if caa.ruling is None:
        if caa.trouble:
            lost = not caa.usable and not facts.standing.has_certificate
            yield Finding("caa", Level.WRONG if lost else Level.UNKNOWN, caa.trouble)
        return
    if caa.ruling.allowed:
        yield Finding("caa", Level.OK, f"CAA records let {caa.identity} issue for {facts.hostname}.")
        return
    yield Finding("caa", Level.WRONG, caa.ruling.sentence)
    yield Change(
        who=Fault.CUSTOMER_DNS,
        what=f"the CAA records of {caa.ruling.name}",
        present=" and ".join(caa.ruling.present),
        wanted=f"{caa.ruling.wanted} beside them, or no CAA record" if caa.ruling.wanted else "without that record",
        why=caa.ruling.reason,
    )


def _ports(facts: Facts, *, here: bool) -> Iterator[Change | Finding]:
    for port in facts.ports:
        where = f"Port {port.port} of {port.address}"
        if not port.error:
            yield Finding("port", Level.OK, f"{where} can be reached.")
            continue
        text = f"{where} cannot be reached from this machine: {port.error}."
        yield Finding("port", Level.WRONG if here else Level.NOTE, text)
        if here:
            yield Change(
                who=Fault.OPERATOR,
                what=f"port {port.port} of {port.address}",
                present=port.error,
                wanted="open",
                why=f"{text} Look at the firewall, and whether this edge listens there. A router may hide a public address "
                "from the machines behind it: then try from outside.",
            )


def _issuable(facts: Facts) -> Iterator[Change | Finding]:
    """Whether the edge can have a certificate for the name at all, by its configuration."""
    standing = facts.standing
    if not standing.unissuable or standing.has_certificate or not standing.admitted:
        return
    yield Finding("issuance", Level.WRONG, standing.unissuable)
    yield Change(
        who=Fault.OPERATOR,
        what="how this edge obtains certificates",
        present=f"unable to obtain one for {facts.hostname}",
        wanted="able to",
        why=standing.unissuable,
    )


def _certificate(facts: Facts, *, here: bool) -> Iterator[Finding]:
    served, host = facts.served, facts.hostname
    if served is None:
        return
    if not here:
        yield Finding("certificate", Level.NOTE, f"At the address where it points now: {served.detail}")
    elif served.grade is Grade.GOOD:
        yield Finding("certificate", Level.OK, served.detail)
    elif served.grade is Grade.UNREACHABLE and not facts.standing.has_certificate and facts.standing.admitted:
        standing = facts.standing
        hindered = standing.unissuable or standing.error or not facts.caa.usable
        then = "." if hindered else "; its first visitor obtains it."
        yield Finding("certificate", Level.NOTE, f"{host} has no certificate yet{then}")
    else:
        yield Finding("certificate", Level.WRONG, served.detail)


def _replacing(facts: Facts) -> Iterator[Finding]:
    """What stands between the name and its next certificate."""
    standing = facts.standing
    if standing.revoked:
        text = f"The certificate of {facts.hostname} is revoked, and is served until another can be obtained."
        yield Finding("certificate", Level.WRONG, text)
    if standing.turn is not None:
        because = f", because {standing.turn.reason}" if standing.turn.reason else ""
        text = f"The order of a certificate waits for its turn: position about {standing.turn.position}, expected at about "
        level = Level.NOTE if standing.has_certificate else Level.WRONG
        yield Finding("issuance", level, f"{text}{_moment(standing.turn.expected)}{because}.")


def _last_error(facts: Facts) -> Iterator[Finding]:
    standing = facts.standing
    if not standing.error or standing.unissuable:  # that says it already
        return
    again = ""
    if standing.next_try > facts.now:
        who = "by itself at" if standing.has_certificate else "with the next visitor, not before"
        again = f" It is tried again {who} {_moment(standing.next_try)}."
    level = Level.NOTE if standing.has_certificate else Level.WRONG
    yield Finding(
        "issuance", level, f"The last try for a certificate failed at {_moment(standing.error_at)}: {standing.error}{again}"
    )


def _seen(view: View) -> str:
    """What a name has, as records: "CNAME a.example, A 192.0.2.1"."""
    aliases = [f"CNAME {view.chain[0]}"] if view.chain else []
    return ", ".join([*aliases, *([_records(view.addresses)] if view.addresses else [])])


def _records(addresses: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"{'AAAA' if ':' in address else 'A'} {address}" for address in addresses)


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
