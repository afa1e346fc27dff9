"""Fixtures for the suites that run against a worker: those of the data plane."""

from tests.edge.conftest import anyio_backend, edge, maps, origin, script

__all__ = ["anyio_backend", "edge", "maps", "origin", "script"]
