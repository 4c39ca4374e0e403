"""HTTP of logos: an owner changes the own one, and whoever is signed in may load any, since customers see them.

A logo leaves as nothing but a picture, whatever else a browser would like to see in its bytes.
"""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Engine

from cloud.db import run_read, run_transaction
from cloud.http_access import Access
from cloud.http_errors import API_PREFIX, ApiError, Envelope, ok
from cloud.merchants import profile_service, profile_store
from cloud.merchants.decision_service import Decider
from cloud.merchants.logo import LogoType
from cloud.merchants.shapes import MerchantHex, refuse
from cloud.openapi import refusals
from cloud.permissions import Permission, SignedIn
from sync.clock import Clock
from sync.ids import MerchantId

_PICTURES = {each.value: {"schema": {"type": "string", "format": "binary"}} for each in LogoType}


@dataclass(frozen=True, slots=True)
class LogoApi:
    """What the routes need."""

    engine: Engine
    clock: Clock
    access: Access


def make_router(api: LogoApi) -> APIRouter:
    """Make the routes about logos."""
    router = APIRouter(prefix=API_PREFIX, tags=["merchant profile"])
    _add_own(router, api)
    anybody = Depends(api.access.signed_in(Permission.OWN_ACCOUNT))

    # Not under the merchant: the gate would ask for a role there, and a customer has none.
    @router.get(
        "/logos/{shown_id}",
        dependencies=[anybody],
        response_class=Response,
        responses={200: {"content": _PICTURES}, **refusals(404)},
    )
    def logo(shown_id: MerchantHex) -> Response:
        """Show a merchant's logo."""
        meant = MerchantId(bytes.fromhex(shown_id))
        found = run_read(api.engine, lambda s: profile_store.find_logo(s, meant))
        if found is None:
            raise ApiError(404, "not_found", "There is no logo.")
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Content-Disposition": "inline",
            "ETag": f'"{found.content_hash.hex()}"',
        }
        return Response(found.content, media_type=found.content_type.value, headers=headers)

    return router


def _add_own(router: APIRouter, api: LogoApi) -> None:
    owner = Depends(api.access.signed_in(Permission.MANAGE_MERCHANT))

    async def read_body(request: Request) -> bytes:
        return await request.body()

    @router.put(
        "/merchants/{merchant_id}/logo", openapi_extra={"requestBody": {"required": True, "content": _PICTURES}}
    )
    def change_logo(
        merchant_id: MerchantHex,
        request: Request,
        person: Annotated[SignedIn, owner],
        content: Annotated[bytes, Depends(read_body)],
    ) -> Envelope[None]:
        """Replace the logo: the body is one PNG or JPEG."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        refuse(
            run_transaction(
                api.engine,
                lambda s: profile_service.change_logo(s, meant, content, decider),
                lookup=lambda _session: None,
            )
        )
        return ok(request, None, "The logo is changed.")

    @router.delete("/merchants/{merchant_id}/logo")
    def remove_logo(merchant_id: MerchantHex, request: Request, person: Annotated[SignedIn, owner]) -> Envelope[None]:
        """Take the logo away."""
        meant, decider = MerchantId(bytes.fromhex(merchant_id)), _decider(api, person)
        is_removed = run_transaction(
            api.engine, lambda s: profile_service.remove_logo(s, meant, decider), lookup=lambda _session: None
        )
        if not is_removed:
            raise ApiError(404, "not_found", "There is no logo.")
        return ok(request, None, "The logo is removed.")


def _decider(api: LogoApi, person: SignedIn) -> Decider:
    return Decider(person.login_id, "", api.clock.now_ms())
