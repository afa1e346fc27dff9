"""Whether mail can be sent: /api/v1/admin/mail."""

from __future__ import annotations

import re
from typing import Annotated

import structlog
from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field

from edgeproxy.control.api.context import actor_of, context_of
from edgeproxy.control.api.forms import MAILBOX
from edgeproxy.control.api.shapes import Body

router = APIRouter(prefix="/api/v1/admin", tags=["mail"])
log = structlog.get_logger("api")

_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}\Z", re.ASCII)


def _mailbox(text: str) -> str:
    if not _MAILBOX.match(text):
        raise ValueError("is not a mail address; write one like ops@example.com")
    return text


class MailIn(Body):
    """POST /api/v1/admin/mail."""

    to: Annotated[str, AfterValidator(_mailbox)] = Field(max_length=320, json_schema_extra=MAILBOX, description="To whom")


class MailOut(BaseModel):
    """A mail that the server took."""

    to: str
    server: str


@router.post("/mail", summary="Try whether mail can be sent")
async def try_mail(request: Request, body: MailIn) -> MailOut:
    """Sends a mail of two sentences by the server of the [mail] table, and answers once that has taken it."""
    context = context_of(request)
    text = "This mail was sent to try the [mail] table of Edgeproxy's configuration.\n\nIt works as far as you can read this.\n"
    await context.open_plane().mailer.send([body.to], "A mail from Edgeproxy", text)
    log.info("a mail was sent to try it", to=body.to, actor=actor_of(request))
    return MailOut(to=body.to, server=context.config.mail.server)
