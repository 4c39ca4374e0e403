"""Every route under /api/v1, asked what its schema allows and what it forbids, with a login and without.

schemathesis makes the requests from the application's own OpenAPI and runs all its checks on each answer. They are
the same in every run, and come from a customer, a merchant's owner and an operator.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, BaseSchema, Case, GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.result import Ok

from cloud.disputes.refusals import DisputeRefusal
from cloud.identity.passwords import SecretRefusal
from cloud.identity.refusals import IdentityRefusal
from cloud.identity.service import OpenedSession
from cloud.merchants.decision_service import DecisionRefusal
from cloud.merchants.logo import LogoRefusal
from cloud.merchants.profile import ProfileRefusal
from cloud.payments.refusals import PaymentRefusal
from cloud.permissions import Role
from cloud.sessions.rules import SessionRefusal
from cloud.wallets.customer_service import CustomerRefusal
from cloud.wallets.decision_service import WalletDecisionRefusal
from cloud.wallets.top_up_service import TopUpRefusal
from cloud.wallets.webhook import WebhookRefusal
from tests.counts import count
from tests.fakes.identity_world import IdentityWorld
from tests.servers.mariadb import MariaDb

Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]

RULES = {
    *(IdentityRefusal.EMAIL_INVALID, IdentityRefusal.PASSKEY_INVALID, IdentityRefusal.PASSKEY_NAME_INVALID),
    *(CustomerRefusal.PHONE_INVALID, CustomerRefusal.NAME_INVALID),
    *(DecisionRefusal.REASON_MISSING, WalletDecisionRefusal.REASON_MISSING, DisputeRefusal.REASON_MISSING),
    *("idempotency_key_missing", "period_invalid"),
    *(each for kind in (SecretRefusal, ProfileRefusal, LogoRefusal, SessionRefusal, PaymentRefusal) for each in kind),
    *(each for kind in (TopUpRefusal, WebhookRefusal) for each in kind),
}
"""Refusals of what a schema has to allow, because no schema can say it: a password that everybody tries first."""
ROUTES_MIN = 69
TAKES_NOTHING = "/api/v1/auth/passkeys/log-in/options"
"""Open to all and without any input, so there is nothing that its schema forbids."""


@dataclass
class Asker:
    """Somebody who is signed in, whatever the requests before have done."""

    world: IdentityWorld
    role: Role
    scope: str
    token: str = ""
    people: int = 0

    def ask(self, case: AnyCase) -> int:
        """Send the request and check its answer by everything that schemathesis checks; answers its status."""
        self._sign_in()
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = case.call(headers=headers)
        is_by_rule = answer.status_code in (400, 422) and answer.json()["code"] in RULES
        case.validate_response(
            answer,
            headers=headers,
            excluded_checks=[positive_data_acceptance] if is_by_rule else [],
            transport_kwargs={"headers": headers},
        )
        return answer.status_code

    def _sign_in(self) -> None:
        """Sign in, as somebody new if a request has ended the session: it may have changed the password, too."""
        if self.world.identity.find_session(self.token) is not None:
            return
        self.people += 1
        email = f"{self.role}{self.people}@example.org"
        self.world.person(email, self.role, scope=self.scope)
        opened = self.world.log_in(email, address=f"198.51.{self.people // 250}.{self.people % 250}")
        assert isinstance(opened, OpenedSession), opened
        self.token = opened.token


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDb) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("every"), mariadb.create_database("every_route"))
    yield made
    made.close()
    mariadb.drop_database("every_route")


@pytest.fixture(scope="module")
def askers(world: IdentityWorld) -> list[Asker]:
    """A customer, a merchant's owner and an operator."""
    roles = {Role.CUSTOMER: "W000000000001", Role.OWNER: world.clouds.merchant_id.hex(), Role.ADMINISTRATOR: ""}
    return [Asker(world, role, scope) for role, scope in roles.items()]


@pytest.fixture(scope="module")
def described(world: IdentityWorld) -> BaseSchema:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", world.app)


@pytest.mark.timeout(count(300, 3600))
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_route_answers_as_it_says(described: BaseSchema, askers: list[Asker], mode: GenerationMode) -> None:
    walked = list(operations(described))
    for operation in walked:
        if mode is GenerationMode.NEGATIVE and operation.path == TAKES_NOTHING:
            continue

        @settings(max_examples=count(1, 50), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: AnyCase) -> None:
            for asker in askers:
                asker.ask(case)

        ask()
    assert len(walked) >= ROUTES_MIN


@pytest.mark.timeout(count(300, 3600))
def test_every_route_answers_as_it_says_at_every_border(described: BaseSchema, askers: list[Asker]) -> None:
    asked = 0
    for operation in operations(described):
        generation = described.config.generation_for(operation=operation)
        cases = described.iter_coverage_cases(
            operation, generation_modes=list(GenerationMode), generation_config=generation
        )
        for case in islice(cases, 0, None, count(16, 1)):
            askers[asked % len(askers)].ask(case)
            asked += 1
    assert asked >= count(1, 20) * ROUTES_MIN


def test_every_route_answers_as_it_says_about_what_is_there(
    world: IdentityWorld, described: BaseSchema, askers: list[Asker]
) -> None:
    merchant_id = world.clouds.merchant_id.hex()
    known = {"merchant_id": merchant_id, "login_id": world.person("till@example.org", Role.CASHIER, scope=merchant_id)}
    known["session_id"] = world.signed_in("till@example.org").person.session_id
    statuses: set[int] = set()
    for operation in operations(described):
        names = [parameter.name for parameter in operation.path_parameters]
        if not names or not known.keys() >= set(names):
            continue

        @settings(max_examples=count(1, 50), derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(path_parameters={name: known[name] for name in names}))
        def ask(case: AnyCase) -> None:
            for asker in askers:
                statuses.add(asker.ask(case))

        ask()
    # Done, not allowed, another's, and done before.
    assert statuses >= {200, 403, 404, 409}


def operations(described: BaseSchema) -> Iterator[Operation]:
    """Every operation of the interface that answers in the envelope."""
    for found in described.include(path_regex="^/api/v1/").get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()
