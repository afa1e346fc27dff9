"""Fixtures for the data plane's tests."""

import pytest

from edgeproxy.edge import tickets


@pytest.fixture(scope="session")
def shared_tickets() -> None:
    """Skips where this interpreter does not let ticket keys be set."""
    outcome = tickets.trial()
    if not outcome.works:
        pytest.skip(outcome.sentence)
