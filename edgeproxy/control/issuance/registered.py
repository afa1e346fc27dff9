"""The registered domain of a name, by the public suffix list: what CAs count certificates by."""

from __future__ import annotations

import functools

from publicsuffixlist import PublicSuffixList


@functools.cache
def _list() -> PublicSuffixList:
    """The list that came with the package, its private part too: Let's Encrypt counts by both. Takes 80 ms once."""
    return PublicSuffixList()


def load() -> None:
    """Reads the list, so that no visitor waits for it."""
    _list()


def registered_domain(name: str) -> str:
    """ "example.co.uk" for "*.shop.example.co.uk"; a public suffix itself stands for itself."""
    name = name.removeprefix("*.")
    return str(_list().privatesuffix(name) or name)


def is_public_suffix(name: str) -> bool:
    """Whether domains of strangers are registered directly beneath a name: "co.uk", "github.io"."""
    return _list().privatesuffix(name) is None
