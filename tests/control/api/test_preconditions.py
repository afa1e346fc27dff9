"""ETags of domains and what If-Match lets through."""

import msgspec
import pytest

from edgeproxy.control.api.preconditions import etag_of, versions_of
from edgeproxy.control.store import Domain
from edgeproxy.errors import Outdated
from edgeproxy.model import DomainState

DOMAIN = Domain(
    hostname="a.example.com", workspace_id="w", state=DomainState.ACTIVE, created_at=1_800_000_000.25, updated_at=0.0, version=3
)


def test_an_etag_is_another_one_for_each_version_and_for_each_registration() -> None:
    tags = {etag_of(DOMAIN)}
    tags.add(etag_of(msgspec.structs.replace(DOMAIN, version=4)))
    tags.add(etag_of(msgspec.structs.replace(DOMAIN, created_at=DOMAIN.created_at + 1)))
    assert len(tags) == 3
    assert all(tag[0] == tag[-1] == '"' and '"' not in tag[1:-1] and tag.isascii() for tag in tags)


@pytest.mark.parametrize("sent", [None, "*", " * ", etag_of(DOMAIN), f'"other",  {etag_of(DOMAIN)}'])
def test_who_has_seen_it_may_change_it(sent: str | None) -> None:
    assert versions_of(sent, DOMAIN) == (None if sent is None or "*" in sent else (3,))


@pytest.mark.parametrize("sent", ["", '"other"', f"W/{etag_of(DOMAIN)}", etag_of(DOMAIN).strip('"'), "3", '"*"', ",,,"])
def test_who_has_seen_something_else_is_told_to_look_again(sent: str) -> None:
    with pytest.raises(Outdated, match="send the ETag of that answer"):
        versions_of(sent, DOMAIN)
