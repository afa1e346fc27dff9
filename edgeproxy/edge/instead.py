"""What the edge answers instead of a domain's origin: a redirect, or one of the operator's pages. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from edgeproxy.config.pages import Pages
from edgeproxy.edge.respond import Template, Text
from edgeproxy.errors import Fault
from edgeproxy.published.records import Site

TEXTS: Final = {
    "maintenance": Text(
        503,
        "maintenance",
        "We will be back shortly",
        "This site is being worked on, and is closed for a short while.",
        ("Please come back a little later; nothing is wrong at your end.",),
        Fault.OPERATOR,
        retryable=True,
        retry_after=120,
        intended=True,
    ),
    "suspended": Text(
        403,
        "suspended",
        "This site is not available",
        "The site at this address has been switched off.",
        (
            "If you are a visitor, get in touch with the site’s owner another way.",
            "If this is your site, your account says what is needed to switch it on again.",
        ),
        Fault.OPERATOR,
        intended=True,
    ),
    "setup": Text(
        503,
        "setting_up",
        "This site is being set up",
        "The address works already. The site behind it is on its way, and is usually there within a few minutes.",
        (
            "You need not do anything: this page looks again by itself.",
            "If this is your site, its status in your dashboard says how far it is.",
        ),
        Fault.OPERATOR,
        retryable=True,
        retry_after=10,
        refresh=10,
        intended=True,
    ),
}
"""The built-in words of each page, by its name in [pages]. Programs that ask for JSON get them with the operator's page too."""


class Instead(msgspec.Struct, frozen=True):
    """One such answer: a redirect where `redirect_to` is not empty, else a page of `TEXTS`."""

    page: str = ""
    redirect_to: str = ""
    reason: str = ""
    """For the operator's log."""


class Notice(msgspec.Struct, frozen=True):
    """A page as it is shown."""

    text: Text
    template: Template | None
    """None: made of the text."""


_SUSPENDED: Final = Instead(page="suspended", reason="the domain is suspended")
_MAINTENANCE: Final = Instead(page="maintenance", reason="the domain is in maintenance")
_SETUP: Final = Instead(page="setup", reason="the domain is not active yet")


def notices(pages: Pages) -> dict[str, Notice]:
    """The pages by their names, as configured."""
    own = {"maintenance": pages.maintenance, "suspended": pages.suspended, "setup": pages.setup}
    return {name: Notice(TEXTS[name], Template(file.html) if file.html else None) for name, file in own.items()}


def instead_of(site: Site, host: str, *, setup: bool) -> Instead | None:
    """What is answered for a host instead of the site's origin; None: nothing, the origin is asked.

    `setup`: a name that is not active yet shows that it is being set up (`pages.setup_until_active`). Of several the most
    serious counts. A wildcard that redirects to a name which it covers serves that name: it would else redirect for ever.
    """
    if site.suspended:
        return _SUSPENDED
    if site.maintenance:
        return _MAINTENANCE
    if site.redirect_to and site.redirect_to != host:
        return Instead(redirect_to=site.redirect_to, reason=f"redirected to {site.redirect_to}")
    if site.new and setup:
        return _SETUP
    return None
