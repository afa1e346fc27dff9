"""Which values of [entitlement] fit together."""

import msgspec

from edgeproxy.config import check
from edgeproxy.config.entitlement import Entitlement, faults
from edgeproxy.config.issuance import Issuance
from edgeproxy.config.structs import Config


def test_a_workspace_is_listed_once() -> None:
    twice = Entitlement(static=("acme", "other", "acme 5"))
    ((key, text),) = faults(twice)
    assert (key, "there twice" in text) == ("entitlement.static", True)
    assert not list(faults(Entitlement(static=("acme", "other 5"))))
    config = Config(issuance=Issuance(directory="internal"))
    assert not list(check.together(config))
    assert [found.key for found in check.together(msgspec.structs.replace(config, entitlement=twice))] == [key]
