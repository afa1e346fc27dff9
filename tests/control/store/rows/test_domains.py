"""Rows of domains."""

import msgspec

from edgeproxy.control.store.rows.domains import Domain, DomainChange


def test_a_change_names_what_a_domain_has_and_changes_nothing_unasked() -> None:
    fields = {field.name for field in msgspec.structs.fields(DomainChange)}
    assert fields <= {field.name for field in msgspec.structs.fields(Domain)}
    assert set(msgspec.structs.asdict(DomainChange()).values()) == {None}
    assert not fields & {"hostname", "workspace_id", "state", "proof"}, "whose it is and whether it is served is no setting"
