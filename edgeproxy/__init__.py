"""A self-hosted, TLS-terminating edge for platforms whose customers bring their own domains."""

__version__ = "0.1.0"
