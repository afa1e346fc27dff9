"""The mistakes that people make with DNS records, each known by its name and told in its own sentence. Pure."""

from __future__ import annotations

from edgeproxy.control.dns.lookup import Said
from edgeproxy.control.domains.verification.case import SHOWN, Case, listed, named, present, printable, readable
from edgeproxy.control.domains.verification.proxies import proxy_of
from edgeproxy.control.domains.verification.reading import Leads, Route, Text, route, text
from edgeproxy.control.domains.verification.seen import FileSaid, Problem, Proof, Serving, State, View
from edgeproxy.control.domains.verification.wanted import PATH
from edgeproxy.errors import Fault


def unmeasurable() -> Problem:
    """Nobody has said what pointing here means."""
    return Problem(
        state=State.UNSURE,
        code="target_not_configured",
        detail="This edge does not know what customers point their names at. Its operator has to set platform.cname_target.",
        fault=Fault.OPERATOR,
    )


def zone_problem(case: Case) -> Problem | None:
    """What is wrong above the name: no such domain, or nobody who serves it."""
    zone = case.seen.zone
    if zone is None:
        return None
    if not zone.exists:
        return Problem(
            state=State.PENDING,
            code="domain_missing",
            detail=f"The domain {zone.name} does not exist: its registry does not know it. Register it, or look at its "
            f"registrar whether it has expired or is on hold; then set the record for {case.host}: {case.routing}.",
            what=f"the domain {zone.name}",
            present="does not exist",
            wanted="registered",
        )
    states = {server.serving for server in zone.servers}
    answered = any(answer.certain for view in case.seen.resolvers for answer in view.answers)
    if not states or answered or not states <= {Serving.REFUSES, Serving.NOWHERE}:
        return None
    servers = named(zone.names)
    why = "they do not exist" if states == {Serving.NOWHERE} else "they do not serve it"
    return Problem(
        state=State.WRONG,
        code="zone_not_served",
        detail=f"The registry sends all questions for {zone.name} to {servers}, but {why}, so that nobody finds any "
        f"record of it. At the registrar of {zone.name}, where it was bought, change its name servers from {servers} to those "
        "of the provider where its DNS records are kept, or create the zone there.",
        what=f"the name servers of {zone.name}",
        present=servers,
        wanted="name servers that serve the zone",
    )


def misdelegated(case: Case) -> Problem | None:
    """The registry names other servers than the zone does: the record was perhaps made where nobody looks."""
    zone = case.seen.zone
    if zone is None or not zone.delegated or not zone.own or set(zone.delegated) & set(zone.own):
        return None
    registry, own = named(zone.delegated), named(zone.own)
    return Problem(
        state=State.WRONG,
        code="nameservers_differ",
        detail=f"The registry sends all questions for {zone.name} to {registry}, but the zone itself names {own}. A "
        f"record that is made at the one is not seen where the other is asked. At the registrar of {zone.name}, where it was "
        f"bought, change its name servers from {registry} to {own}, if that is where the records of {case.host} are kept; else "
        f"make the record at {registry}.",
        what=f"the name servers of {zone.name}",
        present=registry,
        wanted=own,
    )


def doubled(case: Case) -> Problem | None:
    """The right record, at HOST.ZONE: the provider added the domain to a name that had it already."""
    view = case.seen.doubled
    if view is None:
        return None
    found = route(view, case.wanted, case.seen)
    by_text = case.wanted.method == "dns"
    if by_text and text(view, case.wanted) is Text.PROVEN:
        name, kind = case.wanted.text_name, "TXT"
    elif not by_text and found is not None and found.leads is Leads.HERE:
        name, kind = case.host, present(view).split(" ", 1)[0]
    else:
        return None
    wrong = f"{name}.{case.zone}"
    short = "@" if name == case.zone else name.removesuffix(f".{case.zone}")
    return Problem(
        state=State.WRONG,
        code="record_doubled",
        detail=f"The {kind} record is at {wrong}: {case.keeper} adds {case.zone} to each name by itself, so that the domain is "
        f"there twice. At {case.keeper}, change the record's name from {name} to {short}.",
        what=f"the name of the record {wrong}",
        present=name,
        wanted=short,
    )


def misrouted(case: Case, found: Route) -> Problem:
    """The name leads elsewhere, by a view that is sure of it."""
    if found.leads is Leads.CIRCLE:
        return _circle(case, found)
    if found.leads is Leads.FOREIGN:
        return _foreign(case, found)
    if found.leads is Leads.PARTLY:
        return _leftover(case, found)
    proxy = None if found.view.chain else proxy_of(found.strange)
    if proxy is not None:
        return Problem(
            state=State.WRONG,
            code="proxied",
            detail=f"{proxy.name} stands before {case.host}: everybody sees {proxy.name}'s own addresses "
            f"({listed(found.strange)}) instead of the record behind them. At {proxy.name}, "
            f"{proxy.cure.format(host=case.host)}. Its record has to be {case.routing}, for everybody to see.",
            what=_records(case),
            present=f"{present(found.view)} ({proxy.name})",
            wanted=case.routing,
        )
    return _elsewhere(case, found)


def target_nowhere(case: Case, proven: frozenset[Proof]) -> Problem | None:
    """The CNAME is right, and visitors who follow it come to a name without an address."""
    views = [each.view for each in case.resolvers]
    aliases = [
        view.chain[-1] for view in views if view.chain and not view.addresses and all(each.certain for each in view.answers)
    ]
    if not proven & {Proof.CNAME, Proof.WORKSPACE_CNAME} or not aliases or len(aliases) < len(views):
        return None
    own = aliases[0] == case.wanted.own_target
    made = f"*.{case.wanted.target}" if own else aliases[0]
    value = f"CNAME {case.wanted.target}" if own else "A or AAAA with the addresses of this edge"
    return Problem(
        state=State.UNSURE,
        code="target_nowhere",
        detail=f"{case.host} is set up rightly: it leads to {aliases[0]}. But that name has no address, so that visitors find "
        f"nothing there. The operator of this platform has to set the record {made} {value}; nothing has to be changed for "
        f"{case.host}.",
        fault=Fault.OPERATOR,
        what=f"the DNS records of {made}",
        present="no address",
        wanted=value,
    )


def missing(case: Case) -> Problem:
    """No record yet."""
    return Problem(
        state=State.PENDING,
        code="no_record",
        detail=f"{case.host} has no record yet. At {case.keeper}, add a record {case.to_add}.{case.typed(case.host)}",
        what=_records(case),
        present="no record",
        wanted=case.routing,
    )


def text_missing(case: Case) -> Problem:
    """No TXT record yet."""
    name = case.wanted.text_name
    return Problem(
        state=State.PENDING,
        code="no_record",
        detail=f"{name} has no TXT record yet. At {case.keeper}, add a record of type TXT with the value {case.wanted.proof}."
        f"{case.typed(name)}{_instead(case)}",
        what=f"the TXT record of {name}",
        present="no record",
        wanted=f'TXT "{case.wanted.proof}"',
    )


def text_differs(case: Case, view: View) -> Problem:
    """A TXT record with something else."""
    name = case.wanted.text_name
    values = view.text.records if view.text is not None else ()
    has = " and ".join(f'"{printable(value)}"' for value in values[:2])
    return Problem(
        state=State.WRONG,
        code="txt_differs",
        detail=f'The TXT record of {name} is {has}. At {case.keeper}, change it to "{case.wanted.proof}", or add that '
        f"beside it.{_instead(case)}",
        what=f"the TXT record of {name}",
        present=f"TXT {has}",
        wanted=f'TXT "{case.wanted.proof}"',
    )


def file_problem(case: Case) -> Problem | None:
    """What keeps the file from being seen; None where each try found it."""
    bad = [each for each in case.seen.files if each.said is not FileSaid.FOUND]
    url, proof = case.wanted.file_url, case.wanted.proof
    if not case.seen.files:
        return Problem(
            state=State.PENDING,
            code="no_record",
            detail=f"{case.host} has no address yet, so that its file cannot be fetched. The file is proof only while a "
            "server of yours answers for the name; without one, use a CNAME or TXT record.",
            what=f"the file {url}",
            present="no address",
            wanted=proof,
        )
    if not bad:
        return None
    state, code = {
        FileSaid.MISSING: (State.PENDING, "file_missing"),
        FileSaid.DIFFERS: (State.WRONG, "file_differs"),
        FileSaid.REFUSED: (State.WRONG, "file_refused"),
        FileSaid.FAILED: (State.UNSURE, "file_unreachable"),
    }[bad[0].said]
    return Problem(
        state=state,
        code=code,
        detail=f"{bad[0].detail} Put a file at {PATH}{proof} of the server that answers for {case.host}, with nothing in "
        f"it but {proof}.",
        what=f"the file {url}",
        present=bad[0].said.value,
        wanted=proof,
        fault=Fault.CUSTOMER_DNS,
    )


def caa_forbids(case: Case) -> Problem | None:
    """All is right but for the CA, which may not issue."""
    ruling = case.seen.caa
    if ruling is None or ruling.allowed:
        return None
    return Problem(
        state=State.WRONG,
        code="caa_forbids",
        detail=f"{case.host} is set up rightly, but no certificate can be had for it. {ruling.sentence}",
        what=f"the CAA records of {ruling.name}",
        present=" and ".join(ruling.present),
        wanted=f"{ruling.wanted} beside them, or no CAA record" if ruling.wanted else "without that record",
    )


def _instead(case: Case) -> str:
    """The other way to show whose a name is that led here before it was registered, with a space before."""
    if not case.own_offered:
        return ""
    return f" Or, instead of it, change the record of {case.host} to CNAME {case.wanted.own_target}."


def _circle(case: Case, found: Route) -> Problem:
    chain = " → ".join(map(readable, [case.wanted.asked, *found.view.chain][:SHOWN]))
    return Problem(
        state=State.WRONG,
        code="cname_loop",
        detail=f"The CNAMEs of {case.host} lead in a circle, or on and on: {chain}. At {case.keeper}, change the record of "
        f"{case.host} from CNAME {readable(found.view.chain[0])} to {case.routing}.",
        what=_records(case),
        present=f"CNAME {readable(found.view.chain[0])}",
        wanted=case.routing,
    )


def _foreign(case: Case, found: Route) -> Problem:
    return Problem(
        state=State.WRONG,
        code="cname_of_another",
        detail=f"{case.host} leads to {named(found.view.chain)}, which belongs to another workspace of this platform. At "
        f"{case.keeper}, change its record from CNAME {readable(found.view.chain[0])} to {case.routing}.",
        what=_records(case),
        present=f"CNAME {readable(found.view.chain[0])}",
        wanted=case.routing,
    )


def _leftover(case: Case, found: Route) -> Problem:
    right = [address for address in found.view.addresses if address not in found.strange]
    many = len(found.strange) > 1
    return Problem(
        state=State.WRONG,
        code="leftover_record",
        detail=f"Beside the right record ({listed(right)}) {case.host} still has {listed(found.strange)}, which "
        f"lead{'' if many else 's'} elsewhere: some visitors are sent there, and the certificate may be refused. At "
        f"{case.keeper}, delete {'the records' if many else 'the record'} {listed(found.strange)}.",
        what=_records(case),
        present=present(found.view),
        wanted=f"only {listed(right)}",
    )


def _elsewhere(case: Case, found: Route) -> Problem:
    has = present(found.view)
    alias = readable(found.view.chain[0]) if found.view.chain else ""
    gone = alias and not found.view.addresses and found.view.ipv4 is not None and found.view.ipv4.said is Said.NO_NAME
    what = f"CNAME {alias}" if alias else has
    behind = "which does not exist" if gone else "which leads elsewhere"
    same = bool(alias) == case.routing.startswith("CNAME ")
    change = f"change its record from {what} to {case.routing}" if same else f"delete {what}, and add a record {case.to_add}"
    return Problem(
        state=State.WRONG,
        code="cname_differs" if alias else "address_differs",
        detail=f"{case.host} has {what}, {behind}. At {case.keeper}, {change}.{case.typed(case.host)}",
        what=_records(case),
        present=has,
        wanted=case.routing,
    )


def _records(case: Case) -> str:
    return f"the DNS records of {case.host}"
