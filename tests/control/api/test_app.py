"""The description of the API."""

PROMISED = {
    "/api/v1/admin/status": {"get"},
    "/api/v1/admin/reload": {"post"},
    "/api/v1/admin/stop": {"post"},
    "/api/v1/infrastructure/domains": {"get", "post"},
    "/api/v1/infrastructure/domains/{domain}": {"get", "delete"},
    "/api/v1/infrastructure/ssl": {"get"},
    "/api/v1/infrastructure/ssl/{domain}": {"get", "post"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


async def test_every_promised_path_is_described(world):
    described = (await world.client.get("/openapi.json")).json()["paths"]
    for path, methods in PROMISED.items():
        assert methods <= set(described[path])


async def test_every_operation_describes_its_problems(world):
    described = (await world.client.get("/openapi.json")).json()
    assert "Problem" in described["components"]["schemas"]
    for path in described["paths"].values():
        for operation in path.values():
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert "422" not in operation["responses"]
            assert operation["summary"]


async def test_the_description_page_is_there(world):
    assert (await world.client.get("/docs")).status_code == 200
