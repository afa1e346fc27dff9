"""Habits that every table keeps."""

import sqlalchemy

from edgeproxy.control.store import schema


def test_every_table_has_a_primary_key() -> None:
    for table in schema.metadata.tables.values():
        assert list(table.primary_key.columns), table.name


def test_private_keys_have_columns_that_say_they_are_sealed() -> None:
    binary = {
        f"{table.name}.{column.name}"
        for table in schema.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, sqlalchemy.LargeBinary) and not column.name.startswith("sealed_")
    }
    # Chains are public; challenges' keys, tickets and the CA's key are sealed within their records; what a bearer knows is
    # there as a digest.
    assert binary == {
        "certificates.chain",
        "companions.chain",
        "orders.data",
        "challenges.record",
        "secrets.record",
        "removals.domain",
        "outbox.data",
        "tokens.digest",
        "mail_proofs.link_digest",
        "mail_proofs.code_digest",
    }


def test_names_are_stored_once_in_a_form_that_sorts_by_bytes() -> None:
    # Listings page by name and the map is built in the order of its keys: a collation would break both.
    for table in schema.metadata.tables.values():
        for column in table.columns:
            assert getattr(column.type, "collation", None) is None
