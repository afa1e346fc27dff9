"""Routes learnt from the gate."""

from __future__ import annotations

from pathlib import Path

from edgeproxy.control.store import GateRoute, Store
from tests.control.store.making import NOW, config, logged, opened


def route(hostname: str = "a.example.com", workspace: str = "one") -> GateRoute:
    return GateRoute(hostname=hostname, workspace_id=workspace, origin="", fresh_until=NOW + 300)


async def test_a_route_is_kept_until_the_gate_says_otherwise(store: Store) -> None:
    assert await store.get_gate_route("a.example.com") is None
    assert await store.put_gate_route(route(), NOW) == 1
    assert await store.put_gate_route(route(workspace="two"), NOW + 1) == 2
    found = await store.get_gate_route("a.example.com")
    assert found == GateRoute(hostname="a.example.com", workspace_id="two", fresh_until=NOW + 300, updated_at=NOW + 1)
    assert await store.delete_gate_route("a.example.com", NOW) == 3
    assert await store.delete_gate_route("a.example.com", NOW) == 0
    assert await store.get_gate_route("a.example.com") is None
    assert await logged(store) == [("sites", "a.example.com")] * 3


async def test_routes_are_listed_in_pages(store: Store) -> None:
    for name in ("c", "a", "b"):
        await store.put_gate_route(route(f"{name}.example.com"), NOW)
    assert [found.hostname[0] for found in await store.list_gate_routes(2)] == ["a", "b"]
    assert [found.hostname[0] for found in await store.list_gate_routes(2, "b.example.com")] == ["c"]


async def test_routes_are_bounded_and_the_oldest_go_from_the_map_too(tmp_path: Path) -> None:
    async with opened(tmp_path, config(gate_routes=20)) as store:
        for number in range(129):
            await store.put_gate_route(route(f"n{number:03}.example.com"), NOW + number)
        assert await store.count_gate_routes() == 20
        left = {found.hostname for found in await store.list_gate_routes(1000)}
        assert left == {f"n{number:03}.example.com" for number in range(109, 129)}
        told = [key for _, key in await logged(store)]
        assert set(told) - left == {key for key in told if told.count(key) == 2}
