"""From what was seen of a name to what is said of it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from edgeproxy.control.dns.lookup import Answer, Said
from edgeproxy.control.dns.pointing import Points
from edgeproxy.control.domains.verification import mistakes
from edgeproxy.control.domains.verification.case import Case, bounded, named, present, printable, start
from edgeproxy.control.domains.verification.reading import Leads, Route, Text
from edgeproxy.control.domains.verification.seen import Dnssec, FileSaid, Problem, Proof, Seen, State, Verdict, View
from edgeproxy.control.domains.verification.shown import records
from edgeproxy.control.domains.verification.wanted import Wanted
from edgeproxy.errors import Fault

DETAIL, PART = 2000, 1000
"""Characters of what is said of a name, and of each part of it: others' records are in it."""


def judge(wanted: Wanted, seen: Seen, now: float) -> Verdict:
    """What is said of a name. `now` is Unix time."""
    case = Case(wanted=wanted, seen=seen, now=now)
    proven = _proven(case)
    problem = _bounded(_problem(case, proven))
    provider = case.provider.name if case.provider is not None else ""
    known = {"dnssec": seen.dnssec, "caa_records": seen.caa_records, "provider": provider}
    shown = records(case, proven, problem)
    if problem is None:
        return Verdict(
            state=State.VERIFIED,
            detail=f"{case.host} is proven by {_by(wanted, proven)}.",
            records=shown,
            proven=proven,
            points=_points(case, proven),
            **known,  # type: ignore[arg-type]
        )
    return Verdict(
        state=problem.state,
        code=problem.code,
        detail=problem.detail,
        fault=problem.fault,
        what=problem.what,
        present=problem.present,
        wanted=problem.wanted,
        visible_by=problem.visible_by,
        records=shown,
        proven=proven,
        points=_points(case, proven),
        **known,  # type: ignore[arg-type]
    )


def _bounded(problem: Problem | None) -> Problem | None:
    if problem is None:
        return None
    parts = {part: bounded(getattr(problem, part), PART) for part in ("what", "present", "wanted")}
    return dataclasses.replace(problem, detail=bounded(problem.detail, DETAIL), **parts)  # type: ignore[arg-type]


ROUTED = frozenset((Proof.CNAME, Proof.WORKSPACE_CNAME, Proof.ADDRESS))
"""Proofs by which a name leads here."""


def _proven(case: Case) -> frozenset[Proof]:
    """Every proof that all who have to agree see."""
    found = set[Proof]()
    here = _agreed(case, [each.leads for each in case.authority], [each.leads for each in case.resolvers], Leads.HERE)
    if here and case.wanted.measurable:
        # a CNAME that some see and a flattened one that others see are one thing: the weaker proof counts
        by = {each.by for each in (*case.authority, *case.resolvers) if each.by is not None}
        found.add(by.pop() if len(by) == 1 else Proof.ADDRESS if Proof.ADDRESS in by else Proof.CNAME)
    authority = [said for _, said in case.authority_texts]
    if _agreed(case, authority, [said for _, said in case.resolver_texts], Text.PROVEN):
        found.add(Proof.TXT)
    if case.seen.files and all(each.said is FileSaid.FOUND for each in case.seen.files):
        found.add(Proof.FILE)
    return frozenset(found)


def _agreed(case: Case, authority: Sequence[object], resolvers: Sequence[object], right: object) -> bool:
    """Whether all who have to agree say the right thing. Of a zone's own servers one that is silent does not count beside
    others that answered."""
    unsure = (Leads.UNSURE, Text.UNSURE)
    sure = [said for said in authority if said not in unsure]
    if not resolvers or any(said != right for said in (*sure, *resolvers)):
        return False
    return bool(sure) or not (case.wanted.authority_decides and case.seen.zone is not None and case.seen.zone.servers)


def _points(case: Case, proven: frozenset[Proof]) -> Points:
    if proven & ROUTED:
        return Points.HERE
    sure = [each for each in (*case.authority, *case.resolvers) if each.leads is not Leads.UNSURE]
    return Points.ELSEWHERE if any(each.leads is not Leads.HERE for each in sure) else Points.UNKNOWN


def _right(wanted: Wanted) -> frozenset[Proof]:
    """The proofs of which one will do."""
    if wanted.own_proves:
        return frozenset((Proof.TXT, Proof.WORKSPACE_CNAME))
    return {"dns": frozenset((Proof.TXT,)), "file": frozenset((Proof.FILE,))}.get(wanted.method, ROUTED)


def _by(wanted: Wanted, proven: frozenset[Proof]) -> str:
    if wanted.own_proves and Proof.TXT not in proven:
        return f"its CNAME to {wanted.own_target}"
    if wanted.method == "dns":
        return f"the TXT record of {wanted.text_name}"
    if wanted.method == "file":
        return f"the file {wanted.file_url}"
    return "its addresses, which are this edge's" if Proof.ADDRESS in proven else f"its CNAME to {wanted.target}"


def _problem(case: Case, proven: frozenset[Proof]) -> Problem | None:
    """What stands in the way, the most important first; None where nothing does."""
    wanted = case.wanted
    if _right(wanted) & proven:
        return mistakes.target_nowhere(case, proven) or mistakes.caa_forbids(case)
    if wanted.method == "cname" and not wanted.measurable:
        return mistakes.unmeasurable()
    if (above := mistakes.zone_problem(case)) is not None:
        return above
    if wanted.method == "dns":
        return _of_text(case)
    if wanted.method == "file":
        return _of_file(case)
    return _of_route(case)


def _of_route(case: Case) -> Problem:
    sure = [each for each in case.authority if each.leads is not Leads.UNSURE]
    known = sure or [each for each in case.resolvers if each.leads is not Leads.UNSURE]
    wrong = [each for each in known if each.leads is not Leads.HERE]
    if not known:
        return _unsure(case, [*case.authority, *case.resolvers])
    if not wrong:
        return _lagging(case, case.resolvers, case.routing, _remembered)
    if len(wrong) < len(known):
        return (
            _divided(case, [each.view.who for each in known if each not in wrong], [each.view.who for each in wrong])
            if sure
            else _lagging(case, case.resolvers, case.routing, _remembered)
        )
    return _recognised(case, wrong[0])


def _recognised(case: Case, found: Route) -> Problem:
    if (twice := mistakes.doubled(case)) is not None:
        return twice
    if found.leads is Leads.NOWHERE:
        return mistakes.misdelegated(case) or mistakes.missing(case)
    problem = mistakes.misrouted(case, found)
    if problem.code in ("cname_differs", "address_differs"):
        return mistakes.misdelegated(case) or problem
    return problem


def _of_text(case: Case) -> Problem:
    sure = [each for each in case.authority_texts if each[1] is not Text.UNSURE]
    known = sure or [each for each in case.resolver_texts if each[1] is not Text.UNSURE]
    wrong = [each for each in known if each[1] is not Text.PROVEN]
    if not known:
        return _unsure(case, [*case.authority_texts, *case.resolver_texts])
    if not wrong or (not sure and len(wrong) < len(known)):
        wanted = f'TXT "{case.wanted.proof}"'
        return _lagging(case, case.resolver_texts, wanted, _texts_of)
    if len(wrong) < len(known):
        return _divided(case, [view.who for view, said in known if said is Text.PROVEN], [view.who for view, _ in wrong])
    if (twice := mistakes.doubled(case)) is not None:
        return twice
    view, said = wrong[0]
    if said is Text.DIFFERS:
        return mistakes.text_differs(case, view)
    return mistakes.misdelegated(case) or mistakes.text_missing(case)


def _of_file(case: Case) -> Problem | None:
    uncertain = [answer for view in (*case.seen.authority, *case.seen.resolvers) for answer in view.answers]
    if not case.seen.files and uncertain and not any(answer.certain for answer in uncertain):
        return _unsure(case, [*case.authority, *case.resolvers])
    return mistakes.file_problem(case)


def _lagging(
    case: Case,
    resolvers: Sequence[Route | tuple[View, Text]],
    right: str,
    shown: Callable[[View], str],
) -> Problem:
    """The record is right where it is kept, and not seen so by every resolver."""
    behind = [each for each in resolvers if not _is_right(each)]
    doubtful = [each for each in behind if _is_unsure(each)]
    if doubtful or not behind:
        return _unsure(case, doubtful or resolvers, right=right)
    views = [_view(each) for each in behind]
    until = case.now + max((_rest(view) for view in views), default=0)
    what = case.wanted.text_name if case.wanted.method == "dns" else case.host
    return Problem(
        state=State.PENDING,
        code="propagating",
        detail=f"{what} is right at its own name servers, but {named([view.who for view in views])} still "
        f"remember{'s' if len(views) == 1 else ''} {shown(views[0])}. Nothing more has to be changed: {right} is visible "
        f"everywhere by {moment(until, case.now)}.",
        what=f"what resolvers remember of {what}",
        present=shown(views[0]),
        wanted=right,
        visible_by=until,
    )


def _divided(case: Case, right: list[str], wrong: list[str]) -> Problem:
    what = case.wanted.text_name if case.wanted.method == "dns" else case.host
    return Problem(
        state=State.PENDING,
        code="servers_differ",
        detail=f"Of the name servers of {case.zone}, {named(right)} ha{'s' if len(right) == 1 else 've'} the right record of "
        f"{what} already, and {named(wrong)} not yet. That takes some minutes; if it stays so, ask {case.keeper} why its "
        "servers differ.",
        what=f"the name servers of {case.zone}",
        present=f"{named(wrong)} without the record",
        wanted="the same on all of them",
    )


def _unsure(case: Case, doubtful: Sequence[Route | tuple[View, Text]], *, right: str = "") -> Problem:
    """Nobody who had to answer did."""
    zone = case.seen.zone
    if case.seen.dnssec is Dnssec.BOGUS:
        return Problem(
            state=State.UNSURE,
            code="dnssec_bogus",
            detail=f"Resolvers refuse every answer for {case.host}: its DNSSEC signatures do not fit the DS record at the "
            f"registry. At the registrar of {case.zone}, where it was bought, change the DS record to that of the zone's "
            f"present keys, or remove it if {case.keeper} does not sign the zone.",
            what=f"the DS record of {case.zone}",
            present="fits no key of the zone",
            wanted="the zone's own, or none",
        )
    if right and case.seen.resolvers and not any(_is_unsure(each) and _view(each) in case.seen.resolvers for each in doubtful):
        servers = named(zone.names) if zone is not None and zone.names else f"those of {case.zone}"
        return Problem(
            state=State.UNSURE,
            code="nameservers_silent",
            detail=f"Resolvers see {right}, but the name servers of {case.zone} ({servers}) do not answer this edge, and they "
            "have to agree. It is asked again by itself. Where this machine may not ask others at port 53, its operator sets "
            "dns.resolvers to at least two resolvers, which have to agree instead.",
            fault=Fault.OPERATOR,
        )
    if case.seen.ours_unknown:
        detail = (
            f"Where {case.wanted.target} leads is not known, so that nothing can be compared with it. {case.seen.ours_unknown}"
        )
        return Problem(state=State.UNSURE, code="dns_error", detail=detail, fault=Fault.OPERATOR)
    failed = _failed(doubtful)
    broken = failed is not None and failed.said is Said.BROKEN
    told = printable(failed.detail, 400) if failed is not None else f"Nobody answered for {case.host}."
    who = "the operator of this platform" if failed is not None and failed.fault is Fault.OPERATOR else case.keeper
    return Problem(
        state=State.UNSURE,
        code="dns_error" if broken else "dns_silent",
        detail=f"Whether the record of {case.host} is right cannot be said. {start(told)} It is asked again by itself; "
        f"if it stays so, {who} has to look at it.",
        fault=failed.fault if failed is not None else Fault.CUSTOMER_DNS,
        what=f"the name servers of {case.zone}" if broken else "",
        present="an error" if broken else "",
        wanted="an answer" if broken else "",
    )


def _failed(doubtful: Sequence[Route | tuple[View, Text]]) -> Answer | None:
    answers = [answer for each in doubtful for answer in _view(each).answers if not answer.certain]
    return next((answer for answer in answers if answer.said is Said.BROKEN), next(iter(answers), None))


def _view(each: Route | tuple[View, Text]) -> View:
    return each.view if isinstance(each, Route) else each[0]


def _is_right(each: Route | tuple[View, Text]) -> bool:
    return each.leads is Leads.HERE if isinstance(each, Route) else each[1] is Text.PROVEN


def _is_unsure(each: Route | tuple[View, Text]) -> bool:
    return each.leads is Leads.UNSURE if isinstance(each, Route) else each[1] is Text.UNSURE


def _rest(view: View) -> int:
    """Seconds until a resolver has forgotten what it says now."""
    return max((answer.ttl for answer in view.answers), default=0)


def _remembered(view: View) -> str:
    return present(view) if view.chain or view.addresses else "that there was none"


def _texts_of(view: View) -> str:
    values = view.text.records if view.text is not None else ()
    return " and ".join(f'"{printable(value)}"' for value in values[:2]) or "that there was none"


def moment(at: float, now: float) -> str:
    """ "14:05 UTC", with the date where that is another one than now's."""
    then, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return f"{then:%H:%M} UTC" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M} UTC"
