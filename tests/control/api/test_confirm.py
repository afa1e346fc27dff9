"""The page to which the links in mails lead."""

import msgspec
import pytest

from edgeproxy.control.api import confirm as module
from edgeproxy.control.domains.mail_proof import link_digest, made
from edgeproxy.control.store import MailProof
from edgeproxy.model import DomainState
from tests.control.api.access.conftest import Api

HOST = "gallery.example.com"


async def mailed(world, host: str = HOST) -> str:
    """The end of a link of a mail that was sent."""
    now = world.context.now()
    await world.store.add_domain(host, "acme", state=DomainState.PENDING_VALIDATION, actor="t", now=now)
    link, _ = made()
    proof = MailProof(
        hostname=host,
        workspace_id="acme",
        addresses="admin@example.com",
        link_digest=link_digest(link),
        code_digest=b"",
        sent_at=now,
        expires_at=now + 1000,
    )
    await world.store.put_mail_proof(proof, actor="t", now=now)
    return link


async def state(world, host: str = HOST) -> DomainState:
    return DomainState((await world.store.get_domain(host)).state)


async def test_opening_the_link_changes_nothing_and_the_button_does_once(world):
    link, api = await mailed(world), Api(world)
    for method in ("GET", "GET", "HEAD"):
        answer = await api.ask(method, f"/confirm/{link}")
        assert answer.status_code == 200
        assert await state(world) is DomainState.PENDING_VALIDATION
    page = (await api.ask("GET", f"/confirm/{link}")).text
    assert f"<button>Yes, {HOST} may be used</button>" in page
    assert '<form method="post">' in page
    answer = await api.ask("POST", f"/confirm/{link}")
    assert (answer.status_code, f"{HOST} is confirmed" in answer.text) == (200, True)
    assert await state(world) is DomainState.AWAITING_CUTOVER
    for method in ("GET", "POST"):
        answer = await api.ask(method, f"/confirm/{link}")
        assert (answer.status_code, "does not count any more" in answer.text) == (404, True)
    (entry,) = (each for each in await world.store.list_audit(100, subject=HOST) if each.action == "domain.state")
    assert entry.actor == "mail to example.com"


async def test_the_page_may_be_kept_framed_and_scripted_by_nobody_and_tells_no_site_of_the_link(world):
    answer = await Api(world).ask("GET", f"/confirm/{await mailed(world)}")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script" not in answer.text
    assert "url(" not in answer.text
    assert "//" not in answer.text.partition("<style>")[2]


async def test_it_is_dark_where_that_is_wanted_and_breaks_long_names_rather_than_the_screen(world):
    page = (await Api(world).ask("GET", f"/confirm/{await mailed(world)}")).text
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert ":root{color-scheme:light dark;" in style  # on the body it leaves the paper behind it white
    assert "@media(prefers-color-scheme:dark)" in style
    body, button = style.partition("body{")[2].partition("}")[0], style.partition("button{")[2].partition("}")[0]
    assert "overflow-wrap:anywhere" in body
    assert "overflow-wrap:anywhere" in button


@pytest.mark.parametrize("link", ["x", "x" * 43, "x" * 5000, "..%2F..%2Fetc", "%00" * 43, "%FF", "a/b", "", "<script>"])
async def test_whatever_else_is_asked_for_is_no_link(world, link):
    api = Api(world)
    for method in ("GET", "POST"):
        answer = await api.ask(method, f"/confirm/{link}")
        assert answer.status_code == 404
        assert "<script" not in answer.text


async def test_everything_else_still_needs_a_token(world):
    api = Api(world)
    for path in ("/", "/confirm", "/api/v1/tokens", "/confirmed/x"):
        assert (await api.ask("GET", path)).status_code == 401
    assert (await api.ask("DELETE", "/confirm/x")).status_code == 405


async def test_one_network_can_ask_so_often_only(world):
    api = Api(world)
    found = [(await api.ask("GET", f"/confirm/{'x' * 43}")).status_code for _ in range(module.AT_ONCE + 5)]
    assert found[: module.AT_ONCE] == [404] * module.AT_ONCE
    assert found[-1] == 429
    assert (await api.ask("GET", f"/confirm/{'x' * 43}", address="198.51.100.1")).status_code == 404


async def test_a_link_is_for_the_workspace_that_asked(world):
    link = await mailed(world)
    domain = await world.store.get_domain(HOST)
    other = msgspec.structs.replace(domain, workspace_id="other")
    assert await world.store.advance_domain(domain, other, actor="t", now=world.context.now())
    assert (await Api(world).ask("POST", f"/confirm/{link}")).status_code == 404
    assert await state(world) is DomainState.PENDING_VALIDATION
