"""Rows of who may do what."""

from edgeproxy.control.store.rows.access import Token
from edgeproxy.model import TokenScope


def test_a_token_is_known_by_its_digest_alone_and_lasts_unless_an_end_is_said() -> None:
    token = Token(id="one", digest=bytes(32), scope=TokenScope.DOMAIN_READ, created_at=1.0, created_by="uid:0")
    assert not {"text", "secret"} & set(Token.__struct_fields__)
    assert (token.expires_at, token.revoked_at, token.used_at) == (None, None, None)
    assert (token.workspace_id, token.hostname) == ("", "")
