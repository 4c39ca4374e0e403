"""The composition root of the cloud's HTTP: puts the domains' routes into one application."""

import secrets
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from sqlalchemy.orm import Session
from starlette.types import ASGIApp

from cloud import monitoring, openapi
from cloud.fleet import api as fleet_api
from cloud.fleet import store as fleet_store
from cloud.fleet.enrolment import Broker, Enrolment
from cloud.foundation import Cloud
from cloud.http_access import Access, refuse_open_doors
from cloud.http_errors import API_PREFIX, RequestIds, install_error_handlers
from cloud.http_guard import BODY_SIZE_MAX, BodyLimit, SecurityHeaders, TimeLimit
from cloud.identity import api as identity_api
from cloud.ingest import chain_store
from cloud.merchants import api as merchants_api
from cloud.merchants import decision_api, logo_api, profile_api, staff_api
from cloud.merchants import store as merchant_store
from cloud.merchants.application import Applications
from cloud.merchants.lifecycle import may_take_payments
from cloud.merchants.profile_service import TerminalShown
from cloud.monitoring import Measured, Meter, Probe
from cloud.notifications import api as notifications_api
from cloud.payments import api as payments_api
from cloud.payments import claim_store, courier_api, merchant_api
from cloud.rate_limit import RateLimiter
from cloud.reconciliation import api as reconciliation_api
from cloud.reconciliation.evidence import Issued
from cloud.sessions import api as sessions_api
from cloud.wallets import account_api, customer_api, top_up_api, wallet_api
from cloud.wallets import api as wallets_api
from cloud.wallets.registration import Registration
from cloud.wallets.top_up_service import TopUps
from sync.ids import MerchantId, SiteId

TERMINALS_SHOWN_MAX = 1000


class _Application(FastAPI):
    """The framework's application with our guards around all of it, its last error page included."""

    def __init__(self, *, time_limit_s: float, meter: Meter, **options: Any) -> None:
        super().__init__(**options)
        self._time_limit_s = time_limit_s
        self._meter = meter

    def build_middleware_stack(self) -> ASGIApp:
        limited = TimeLimit(BodyLimit(super().build_middleware_stack(), BODY_SIZE_MAX), self._time_limit_s)
        return RequestIds(SecurityHeaders(Measured(limited, self._meter)))


def build_app(cloud: Cloud, lifespan: Callable[[FastAPI], Any] | None = None) -> FastAPI:
    """Return the application with every route; ``lifespan`` may run a worker beside it."""
    settings = cloud.settings
    probe = Probe(cloud.engine, cloud.cache, cloud.clock)
    meter = Meter(probe)
    app = _Application(
        title="Tillbox cloud",
        version="1",
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
        lifespan=lifespan,
        time_limit_s=settings.request_timeout_s,
        meter=meter,
    )
    install_error_handlers(app)
    openapi.install(app)
    token = settings.operator_token.get_secret_value() if settings.operator_token else None
    metrics_token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    app.include_router(monitoring.make_router(probe, meter, metrics_token))
    app.include_router(fleet_api.make_router(_fleet(cloud, token)))
    app.include_router(merchants_api.make_router(cloud.engine, cloud.clock, secrets.token_bytes, token))
    wallets, access = _wallets(cloud, token), Access(cloud.identity.find_session, RateLimiter(cloud.cache, cloud.clock))
    app.include_router(wallets_api.make_router(wallets))
    issued = Issued(cloud.keyring.root, cloud.keyring.versions)
    app.include_router(reconciliation_api.make_router(cloud.engine, cloud.cache, issued, token))
    accounts = identity_api.IdentityApi(cloud.engine, cloud.clock, cloud.identity, access)
    top_ups = TopUps(cloud.engine, cloud.clock, secrets.token_bytes, cloud.provider)
    staff = staff_api.StaffApi(cloud.engine, cloud.clock, cloud.identity, access)
    payments = _payments(cloud, wallets, access)
    for router in (
        identity_api.make_router(accounts),
        account_api.make_router(_customers(cloud, wallets, access)),
        staff_api.make_router(staff),
        sessions_api.make_router(_sessions(cloud, access)),
        payments_api.make_router(payments),
        merchant_api.make_router(payments),
        courier_api.make_router(courier_api.CourierApi(payments, cloud.verify_request, cloud.sign_approval)),
        notifications_api.make_router(notifications_api.NotificationsApi(cloud.engine, cloud.clock, access)),
        decision_api.make_router(decision_api.DecisionApi(cloud.engine, cloud.clock, access, _terminals_of)),
        profile_api.make_router(_profiles(cloud, access)),
        logo_api.make_router(logo_api.LogoApi(cloud.engine, cloud.clock, access)),
        customer_api.make_router(customer_api.CustomerApi(cloud.engine, cloud.clock, access)),
        wallet_api.make_router(wallet_api.OwnWalletApi(cloud.engine, cloud.clock, access)),
        top_up_api.make_router(top_up_api.TopUpApi(access, top_ups)),
    ):
        app.include_router(refuse_open_doors(router))
    return app


def _customers(cloud: Cloud, wallets: wallets_api.WalletApi, access: Access) -> account_api.AccountApi:
    settings = cloud.settings
    registration = Registration(
        engine=cloud.engine,
        clock=cloud.clock,
        identity=cloud.identity,
        random_bytes=secrets.token_bytes,
        currency=settings.currency,
        daily_limit_minor=settings.payment_daily_limit_minor,
    )
    identify = wallets_api.identify_phone(wallets)
    return account_api.AccountApi(cloud.clock, cloud.identity, access, registration, identify)


def _sessions(cloud: Cloud, access: Access) -> sessions_api.SessionsApi:
    return sessions_api.SessionsApi(
        engine=cloud.engine,
        clock=cloud.clock,
        random_bytes=secrets.token_bytes,
        access=access,
        sign_grant=cloud.sign_grant,
        ttl_s=cloud.settings.payment_session_ttl_s,
    )


def _payments(cloud: Cloud, wallets: wallets_api.WalletApi, access: Access) -> payments_api.PaymentsApi:
    return payments_api.PaymentsApi(
        engine=cloud.engine,
        clock=cloud.clock,
        random_bytes=secrets.token_bytes,
        identity=cloud.identity,
        access=access,
        verify=cloud.judge().verify_code,
        rules=cloud.payment_rules(),
        grant_policy=wallets.grant_policy,
    )


def _fleet(cloud: Cloud, operator_token: str | None) -> fleet_api.FleetApi:
    settings = cloud.settings
    broker = Broker(settings.broker_host or settings.mqtt_host, settings.broker_port or settings.mqtt_port)
    enrolment = Enrolment(cloud.publisher, chain_store.last_head, broker, secrets.token_bytes)
    return fleet_api.FleetApi(cloud.engine, cloud.clock, enrolment, _knows_site, operator_token)


def _profiles(cloud: Cloud, access: Access) -> profile_api.ProfileApi:
    applications = Applications(cloud.engine, cloud.clock, cloud.identity, secrets.token_bytes, cloud.settings.currency)
    return profile_api.ProfileApi(cloud.engine, cloud.clock, access, applications, _terminals_of)


def _terminals_of(session: Session, merchant_id: MerchantId) -> list[TerminalShown]:
    found = fleet_store.terminals_of(session, merchant_id, limit=TERMINALS_SHOWN_MAX)
    return [TerminalShown(each.terminal_id.hex(), each.site_id, each.name, each.state.value) for each in found]


def _knows_site(session: Session, merchant_id: MerchantId, site_id: SiteId) -> bool:
    site = merchant_store.find_site(session, site_id)
    merchant = merchant_store.merchants_by_id(session, [merchant_id]).get(merchant_id)
    is_active = merchant is not None and may_take_payments(merchant.status)
    return is_active and site is not None and site.merchant_id == merchant_id


def _wallets(cloud: Cloud, operator_token: str | None) -> wallets_api.WalletApi:
    return wallets_api.WalletApi(
        engine=cloud.engine,
        clock=cloud.clock,
        random_bytes=secrets.token_bytes,
        posted=claim_store.posted_counters,
        sign_grant=cloud.sign_grant,
        grant_policy=cloud.grant_policy(),
        daily_limit_minor=cloud.settings.payment_daily_limit_minor,
        operator_token=operator_token,
    )
