"""People with logins in a real database: cheap hashes that are counted, and the whole application without a socket."""

import secrets
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from cloud.db import run_transaction
from cloud.http_access import CSRF_HEADER
from cloud.identity.hashing import Cost, Hasher, Purpose, SecretHash
from cloud.identity.login_service import create_login, make_id
from cloud.identity.peppers import Peppers
from cloud.identity.service import Identity, OpenedSession
from cloud.identity.store import Login
from cloud.main import build_app
from cloud.permissions import OPERATOR_ROLES, Role, RoleHeld, TokenKind
from cloud.wallets.provider import FundingProvider
from tests.fakes.cloud_world import CloudWorld, HandClock

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
PEPPERS = Peppers({1: bytes(range(32))})
PASSWORD = "nine bean rows"
WRONG = "a hive for the honey bee"
PIN = "730184"
BASE_URL = "https://cloud.test"
MERCHANT_SCOPE = "00000000000000aa"


class CountingHasher(Hasher):
    """The real hasher, cheaper, which counts how many secrets it has evaluated."""

    def __init__(self, peppers: Peppers | None = PEPPERS, *, cost: Cost = CHEAP, turns_max: int = 64) -> None:
        super().__init__(peppers, cost=cost, turns_max=turns_max)
        self._lock = threading.Lock()
        self.evaluated = 0

    def is_right(self, stored: SecretHash | None, purpose: Purpose, text: str) -> bool:
        with self._lock:
            self.evaluated += 1
        return super().is_right(stored, purpose, text)


@dataclass
class Client:
    """A browser or an integration that is signed in; ``http`` keeps its cookies."""

    http: httpx.AsyncClient
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, json: object = None, *, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return await self.http.request(method, f"/api/v1{path}", json=json, headers=self.headers | (headers or {}))


class IdentityWorld:
    """A cloud whose people the test makes; everybody's password is ``PASSWORD``."""

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        *,
        hasher: CountingHasher | None = None,
        redis_url: str | None = None,
        provider: FundingProvider | None = None,
        clock: HandClock | None = None,
    ) -> None:
        self.clouds = CloudWorld(folder, database_url, redis_url=redis_url, clock=clock)
        self.clock = self.clouds.clock
        self.engine = self.clouds.engine
        self.hasher = hasher or CountingHasher()
        self.identity = Identity(self.engine, self.clock, self.hasher)
        self.app = build_app(replace(self.clouds.cloud, identity=self.identity, provider=provider))

    def close(self) -> None:
        self.clouds.close()

    def person(self, email: str, *roles: Role, scope: str | None = None) -> str:
        """Make a login with roles; answers its id."""
        made_for = scope if scope is not None else "" if set(roles) <= OPERATOR_ROLES else MERCHANT_SCOPE
        login = Login(make_id("L", secrets.token_bytes), email, self.clock.now_ms())
        password = self.hasher.hash(Purpose.PASSWORD, PASSWORD)
        held = [RoleHeld(role, made_for) for role in roles]
        made = run_transaction(self.engine, lambda s: create_login(s, login, roles=held, password=password))
        assert isinstance(made, Login), made
        return made.login_id

    def log_in(
        self, email: str, *, password: str = PASSWORD, address: str = "192.0.2.1", kind: TokenKind = TokenKind.BEARER
    ) -> object:
        return self.identity.log_in(email=email, password=password, address=address, kind=kind)

    def signed_in(self, email: str, *, kind: TokenKind = TokenKind.BEARER) -> OpenedSession:
        opened = self.log_in(email, kind=kind)
        assert isinstance(opened, OpenedSession), opened
        return opened

    def http(self, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client at that address, which shows bugs as answers, as a browser sees them."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 123))
        return httpx.AsyncClient(transport=transport, base_url=BASE_URL)


async def browser(http: httpx.AsyncClient, email: str) -> Client:
    """Log in as a browser does."""
    answer = await http.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Client(http, {CSRF_HEADER: answer.json()["data"]["csrf_token"]})


async def integration(http: httpx.AsyncClient, email: str) -> Client:
    """Log in as a program does."""
    body = {"email": email, "password": PASSWORD, "kind": "bearer"}
    answer = await http.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text
    return Client(http, {"Authorization": f"Bearer {answer.json()['data']['access_token']}"})
