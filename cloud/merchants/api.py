"""HTTP of merchants, for operators: register a merchant, add a site."""

from typing import TypeVar

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine

from cloud.db import run_transaction
from cloud.http_access import operator_check
from cloud.http_errors import ApiError
from cloud.merchants import service
from cloud.merchants.service import MerchantRefusal
from cloud.merchants.store import Merchant, Site
from cloud.merchants.tables import COMMISSION_PPM_DEFAULT
from cloud.openapi import refusals
from sync.clock import Clock
from sync.ids import MerchantId, RandomBytes, SiteId

T = TypeVar("T")


class NewMerchant(BaseModel):
    """A merchant; the commission in parts per million."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=200)
    category: str = Field(default="", max_length=100)
    currency: str = Field(pattern="^[A-Z]{3}$")
    commission_ppm: int = Field(default=COMMISSION_PPM_DEFAULT, ge=0, le=1_000_000)


class NewSite(BaseModel):
    """A shop of a merchant."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    name: str = Field(min_length=1, max_length=200)


def make_router(engine: Engine, clock: Clock, random_bytes: RandomBytes, operator_token: str | None) -> APIRouter:
    """Make the operators' routes about merchants."""
    router = APIRouter(
        prefix="/v1/operator", tags=["merchants"], dependencies=[Depends(operator_check(operator_token))]
    )

    @router.post("/merchants", status_code=201, responses=refusals(409))
    def register(body: NewMerchant) -> dict[str, str]:
        """Register a merchant, who counts as verified by the operator's word."""
        merchant = Merchant(
            merchant_id=MerchantId(random_bytes(8)),
            name=body.name,
            category=body.category,
            currency=body.currency,
            created_at_ms=clock.now_ms(),
            commission_ppm=body.commission_ppm,
            is_verified=True,
        )
        taken = _or_refuse(run_transaction(engine, lambda session: service.register_merchant(session, merchant)))
        return {"merchant_id": taken.merchant_id.hex()}

    @router.post("/merchants/{merchant_id}/sites", status_code=201, responses=refusals(404, 409))
    def add_site(merchant_id: str, body: NewSite) -> dict[str, str]:
        """Add a shop."""
        try:
            merchant = MerchantId(bytes.fromhex(merchant_id))
        except ValueError as error:
            raise ApiError(404, "merchant_unknown", "There is no such merchant.") from error
        site = Site(SiteId(random_bytes(8)), merchant, body.name, clock.now_ms())
        added = _or_refuse(run_transaction(engine, lambda session: service.add_site(session, site)))
        return {"site_id": added.site_id.hex()}

    return router


def _or_refuse(answer: T | MerchantRefusal) -> T:
    if isinstance(answer, MerchantRefusal):
        status = 404 if answer is MerchantRefusal.MERCHANT_UNKNOWN else 409
        raise ApiError(status, answer.value, f"It was not done: {answer.replace('_', ' ')}.")
    return answer
