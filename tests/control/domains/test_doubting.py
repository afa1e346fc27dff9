"""Where it says nothing that a name leads here."""

from types import SimpleNamespace
from typing import Any

import pytest

from edgeproxy.control.domains.doubting import leads_here_anyway


class Holding:
    """A store that has the registrations of these names."""

    def __init__(self, **workspaces: str) -> None:
        self._workspaces = workspaces

    async def get_domain(self, hostname: str) -> Any:
        workspace = self._workspaces.get(hostname.removeprefix("*.").replace(".", "_"))
        return None if workspace is None else SimpleNamespace(hostname=hostname, workspace_id=workspace)


@pytest.mark.parametrize(
    ("preset", "looks", "above", "anyway"),
    [
        ("accept", 0, {}, False),
        ("prove", 0, {}, True),
        ("prove", 1, {}, False),
        ("accept", 5, {"example_com": "another"}, True),
        ("accept", 5, {"example_com": "mine"}, False),
        ("accept", 5, {"gallery_example_com": "another"}, False),
    ],
)
async def test_what_led_here_before_or_leads_here_by_anothers_wildcard(preset, looks, above, anyway):
    domain: Any = SimpleNamespace(hostname="gallery.example.com", workspace_id="mine", looks=looks)
    store: Any = Holding(**above)
    assert await leads_here_anyway(domain, store, preset) is anyway
