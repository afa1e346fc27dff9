"""Proofs by mail in the API, with a real mail server."""

import re

import msgspec
import pytest

from edgeproxy.control.domains.mail_proving import MailProving
from edgeproxy.control.mail import Mailer
from edgeproxy.model import DomainState
from tests.control.api.access.conftest import Api
from tests.control.api.conftest import problem_of
from tests.mailbox import Mailbox

DOMAINS = "/api/v1/infrastructure/domains"
HOST = "gallery.example.com"


@pytest.fixture
async def mailbox(world):
    with Mailbox() as mailbox:
        mail = msgspec.structs.replace(
            world.context.config.mail, server="127.0.0.1", port=mailbox.port, security="none", sender="edge@ve.ai"
        )
        config = msgspec.structs.replace(world.context.config, mail=mail)
        plane = world.context.plane
        plane.mail_proving = MailProving(
            config, world.store, Mailer(config), world.context.now, key=b"k" * 32, wake=lambda: None
        )
        await world.store.add_domain(HOST, "acme", state=DomainState.PENDING_VALIDATION, actor="t", now=world.context.now())
        yield mailbox


def code_of(mailbox: Mailbox) -> str:
    text = mailbox.next().message.get_body(("plain",))
    assert text is not None
    found = re.search(r"[0-9]{4} [0-9]{4}", text.get_content())
    assert found is not None
    return found[0]


async def test_a_domain_is_proven_by_the_code_of_a_mail(world, mailbox):
    answer = await world.client.post(f"{DOMAINS}/{HOST}/verify/mail")
    assert answer.status_code == 200, answer.text
    assert answer.json()["sent_to"][0] == "admin@example.com"
    code = code_of(mailbox)
    for wrong, status, why in (("", 422, "invalid_request"), ("1" * 33, 422, "invalid_request"), ("x", 422, "wrong_code")):
        problem_of(await world.client.post(f"{DOMAINS}/{HOST}/verify/code", json={"code": wrong}), status, why)
    answer = await world.client.post(f"{DOMAINS}/{HOST}/verify/code", json={"code": code})
    assert answer.json() == {"verified": True, "state": "awaiting_cutover"}
    problem_of(await world.client.post(f"{DOMAINS}/{HOST}/verify/mail"), 422, "nothing_to_prove")


async def test_the_next_mail_has_to_wait_and_says_how_long(world, mailbox):
    assert (await world.client.post(f"{DOMAINS}/{HOST}/verify/mail")).status_code == 200
    answer = await world.client.post(f"{DOMAINS}/{HOST}/verify/mail")
    problem_of(answer, 429, "too_many_mails")
    assert 50 <= int(answer.headers["retry-after"]) <= 60


async def test_verify_with_the_method_email_sends_one_too(world, mailbox):
    answer = await world.client.post(f"{DOMAINS}/{HOST}/verify", json={"method": "email"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["verified"] is False
    code = code_of(mailbox)
    assert (await world.client.post(f"{DOMAINS}/{HOST}/verify/code", json={"code": code})).json()["verified"]


async def test_a_tenant_proves_its_own_domains_and_no_others(world, mailbox):
    api = Api(world)
    own = await api.token("tenant", workspace_id="acme")
    foreign = await api.token("tenant", workspace_id="other")
    reader = await api.token("operator:read")
    for token in (foreign, reader):
        assert (await api.ask("POST", f"{DOMAINS}/{HOST}/verify/mail", token)).status_code == 403
    assert (await api.ask("POST", f"{DOMAINS}/{HOST}/verify/mail", own)).status_code == 200
    code = code_of(mailbox)
    assert (await api.ask("POST", f"{DOMAINS}/{HOST}/verify/code", foreign, json={"code": code})).status_code == 403
    assert (await api.ask("POST", f"{DOMAINS}/{HOST}/verify/code", own, json={"code": code})).json()["verified"]
    problem_of(await world.client.post(f"{DOMAINS}/nobody.example.com/verify/mail"), 404, "not_found")


async def test_a_tenant_registers_by_mail_and_where_none_can_be_sent_by_its_record(world, mailbox):
    body = {"subdomain": "shop", "domain": "example.org", "workspaceId": "acme", "method": "email"}
    answer = await world.client.post("/api/domains/register", json=body)
    assert (answer.status_code, answer.json()["message"]) == (200, "Please check your email for domain validation")
    assert set(answer.json()) == {"status", "message", "dns_records"}
    assert answer.json()["dns_records"][0]["ok"] is None
    code = code_of(mailbox)
    assert (await world.client.post(f"{DOMAINS}/shop.example.org/verify/code", json={"code": code})).json()["verified"]
    answer = await world.client.post("/api/domains/register", json=body | {"subdomain": "*"})
    assert answer.status_code == 200, answer.text
    assert "DNS record" in answer.json()["message"], "no mail proves a wildcard"
    assert answer.json()["dns_records"]
    assert ["DNS-01" in said for said in answer.json()["warnings"]] == [True]


async def test_a_tenant_cannot_register_by_mail_where_there_is_none(world):
    body = {"subdomain": "shop", "domain": "example.org", "workspaceId": "acme", "method": "email"}
    answer = await world.client.post("/api/domains/register", json=body)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert await world.store.get_domain("shop.example.org") is None


async def test_without_a_mail_server_it_is_told(world):
    await world.store.add_domain(HOST, "acme", state=DomainState.PENDING_VALIDATION, actor="t", now=world.context.now())
    problem_of(await world.client.post(f"{DOMAINS}/{HOST}/verify/mail"), 409, "mail_not_set")


async def test_the_operator_registers_by_mail(world, mailbox):
    body = {"domain": "shop.example.org", "workspace_id": "acme", "verify": True, "method": "email"}
    answer = await world.client.post(DOMAINS, json=body)
    assert answer.status_code == 201, answer.text
    added = answer.json()
    assert (added["mail_sent_to"][0], added["warnings"]) == ("admin@example.org", [])
    assert (added["verification_required"], added["domain_config"]["state"]) == (True, "pending_validation")
    assert added["domain_config"]["dns_records"][0]["type"] == "CNAME", "what comes first counts"
    code = code_of(mailbox)
    assert (await world.client.post(f"{DOMAINS}/shop.example.org/verify/code", json={"code": code})).json()["verified"]


async def test_a_mail_that_cannot_be_sent_leaves_the_domain_to_its_record(world, mailbox):
    mailer = world.context.plane.mail_proving._mailer
    mailer._settings = msgspec.structs.replace(mailer._settings, port=9)
    body = {"domain": "shop.example.org", "workspace_id": "acme", "verify": True, "method": "email"}
    added = (await world.client.post(DOMAINS, json=body)).json()
    assert added["mail_sent_to"] == []
    [said] = added["warnings"]
    assert said.startswith("No mail was sent: The mail server 127.0.0.1:9 ")
    assert (await world.store.get_domain("shop.example.org")).method == "cname"


@pytest.mark.parametrize(
    ("more", "code", "names"),
    [
        ({"method": "email", "verify": True}, "mail_not_set", "mail.server"),
        ({"method": "email", "verify": True, "domain": "*.example.org"}, "proof_needed", "TXT record"),
        ({"method": "email"}, "invalid_request", "verify: true"),
        ({"method": "dns"}, "invalid_request", "verify: true"),
        ({"method": "pigeon", "verify": True}, "invalid_request", "method"),
    ],
)
async def test_a_method_that_cannot_be_is_refused_and_nothing_registered(world, more, code, names):
    answer = await world.client.post(DOMAINS, json={"domain": "shop.example.org", "workspace_id": "acme", **more})
    assert names in problem_of(answer, 422, code)["detail"]
    assert (await world.client.get(DOMAINS)).json()["domains"] == []


async def test_the_operator_chooses_any_other_method_too(world):
    for method, kind in (("dns", "TXT"), ("cname", "CNAME")):
        body = {"domain": f"{method}.example.org", "workspace_id": "acme", "verify": True, "method": method}
        added = (await world.client.post(DOMAINS, json=body)).json()
        [required] = [each for each in added["domain_config"]["dns_records"] if each["required"]]
        assert required["type"] == kind
