"""HTTP of what is done by letter: confirm one's e-mail address, choose a forgotten password anew.

Who asks for a new password is answered the same, whether the address is known or not.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field, SecretStr

from cloud.http_access import Access, address_of, open_to_all
from cloud.http_errors import API_PREFIX, Envelope, ok
from cloud.identity.api import TEXT_LENGTH_MAX, EmailText, NewSecret, StrictBody, or_refuse
from cloud.identity.mail_service import Mails
from cloud.openapi import example, refusals
from cloud.permissions import Permission, SignedIn
from cloud.rate_limit import LOG_INS, SECRETS
from sync.clock import Clock


@dataclass(frozen=True, slots=True)
class MailApi:
    """What the routes need."""

    clock: Clock
    access: Access
    mails: Mails


class Forgotten(StrictBody):
    """Whose password is forgotten."""

    model_config = example({"email": "ada@example.org"})

    email: EmailText


class Link(StrictBody):
    """The token of a letter's link, what stands behind ``#token=``."""

    token: SecretStr = Field(min_length=1, max_length=TEXT_LENGTH_MAX)


class NewPasswordByLink(Link):
    """The token of a letter's link, and the password from now on."""

    new_password: NewSecret


def make_router(api: MailApi) -> APIRouter:
    """Make the routes of letters."""
    router = APIRouter(prefix=API_PREFIX, tags=["letters"])
    _add_reset(router, api)
    _add_verification(router, api)
    return router


def _add_reset(router: APIRouter, api: MailApi) -> None:
    by_anybody = [Depends(open_to_all), Depends(api.access.limited(LOG_INS))]

    @router.post("/auth/password-reset", dependencies=by_anybody)
    def forgotten(body: Forgotten, request: Request) -> Envelope[None]:
        """Ask for a letter with which a new password is chosen, at most five an hour."""
        answer = api.mails.ask_for_reset(body.email, address=address_of(request))
        or_refuse(answer, api.clock, field="email")
        return ok(request, None, "If there is an account with this address, a letter is on its way.")

    @router.post("/auth/password-reset/confirm", dependencies=by_anybody, responses=refusals(403, 409))
    def reset(body: NewPasswordByLink, request: Request) -> Envelope[None]:
        """Choose a new password; every session of the account ends."""
        token, chosen = body.token.get_secret_value(), body.new_password.get_secret_value()
        answer = api.mails.reset_password(token, chosen, address=address_of(request))
        or_refuse(answer, api.clock, field="new_password")
        return ok(request, None, "The password is changed; log in with it.")


def _add_verification(router: APIRouter, api: MailApi) -> None:
    by_anybody = [Depends(open_to_all), Depends(api.access.limited(LOG_INS))]

    @router.post("/auth/email-verification")
    def ask(
        request: Request,
        person: Annotated[SignedIn, Depends(api.access.signed_in(Permission.OWN_ACCOUNT, limit=SECRETS))],
    ) -> Envelope[None]:
        """Ask for a letter with which one's own e-mail address is confirmed."""
        api.mails.ask_for_verification(person)
        return ok(request, None, "A letter is on its way.")

    @router.post("/auth/email-verification/confirm", dependencies=by_anybody, responses=refusals(409))
    def confirm(body: Link, request: Request) -> Envelope[None]:
        """Confirm the e-mail address that the letter went to."""
        or_refuse(api.mails.verify_email(body.token.get_secret_value()), api.clock)
        return ok(request, None, "The e-mail address is confirmed.")
