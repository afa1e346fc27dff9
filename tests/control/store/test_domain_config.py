"""What is told of a domain."""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import select

from edgeproxy.control.store.domain_config import domain_of, told
from edgeproxy.control.store.schema import domains
from edgeproxy.model import DomainState
from tests.control.store.making import NOW, opened


async def test_a_row_is_read_back_and_told_in_the_names_of_the_contract(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        domain = await store.add_domain("a.test", "w", state=DomainState.VERIFIED, actor="test", now=NOW)
        async with store.database.read() as connection:
            row = (await connection.execute(select(domains))).one()
    assert domain_of(row) == domain
    found = told(domain)
    assert (found["domain"], found["workspace_id"], found["state"]) == ("a.test", "w", "verified")
    assert found["created_at"] == found["verified_at"] == "2027-01-15T08:00:00Z"
    assert found["error"] is None
    assert {"origin", "redirect_to", "include_www", "maintenance", "metadata"} <= found.keys()


async def test_an_error_is_told_with_whose_it_is_and_whether_it_is_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        domain = await store.add_domain("a.test", "w", state=DomainState.VERIFIED, actor="test", now=NOW)
    wrong = msgspec.structs.replace(domain, error_code="c", error_detail="No.", error_fault="ca", next_look=None)
    assert told(wrong)["error"] == {"code": "c", "detail": "No.", "fault": "ca", "retryable": False}
    assert told(msgspec.structs.replace(wrong, next_look=NOW))["error"]["retryable"]
