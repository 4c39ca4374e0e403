"""Web Push to a real receiver that decrypts as a browser does, and to receivers that are gone, stuck or lying."""

import base64
import json
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from cloud.cli import cloud as cloud_command
from cloud.db import run_read
from cloud.deliveries import PaymentConcern
from cloud.http_access import Access
from cloud.http_errors import install_error_handlers
from cloud.notifications import delivery_store, push_store
from cloud.notifications.channels import GRACE_MS, Channel, DeliveryState
from cloud.notifications.delivery_service import Deliverer
from cloud.notifications.notices import Notice
from cloud.notifications.push import CONTENT_SIZE_MAX, PushKey, PushRules, PushSender, content_of, encrypt
from cloud.notifications.push_api import PushApi, make_router
from cloud.notifications.push_store import SUBSCRIPTIONS_MAX
from cloud.notifications.store import Notification
from cloud.notifications.subscriptions import PushSubscription
from cloud.payments.notices import request_id
from tests.fakes.payment_web import Web
from tests.fakes.payment_world import Payer, PaymentWorld

CONTACT = "mailto:push@example.org"


@dataclass
class Browser:
    """What a browser keeps of its subscription, and how it reads what arrives (RFC 8291 §3.4)."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = b"sixteen bytes ok"

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def read(self, body: bytes) -> bytes:
        """Decrypt one record of aes128gcm (RFC 8188 §2)."""
        salt, (size, key_size) = body[:16], struct.unpack("!LB", body[16:21])
        sender, sealed = body[21 : 21 + key_size], body[21 + key_size :]
        assert len(sealed) <= size
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
        material = derive(self.secret, shared, b"WebPush: info\0" + self.public + sender, 32)
        key = derive(salt, material, b"Content-Encoding: aes128gcm\0", 16)
        nonce = derive(salt, material, b"Content-Encoding: nonce\0", 12)
        text, end, _ = AESGCM(key).decrypt(nonce, sealed, None).rpartition(b"\x02")
        assert end
        return text


def derive(salt: bytes, material: bytes, info: bytes, size: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=size, salt=salt, info=info).derive(material)


def bare(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def spelled(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Service:
    """A push service on this machine, which answers as the test says and keeps what it gets."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    stuck: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Service":
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.got.append((dict(self.headers), body))
                status = service.answers.pop(0) if service.answers else 201
                if status == 0:
                    service.stuck.wait()
                    return
                self.send_response(status)
                self.send_header("Location", f"{service.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stuck.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"


@dataclass
class PushDesk:
    """A cloud that pushes, and one customer's browser."""

    world: PaymentWorld
    service: Service
    key: PushKey
    payer: Payer
    browser: Browser = field(default_factory=Browser)

    def subscribe(self, path: str = "/push/abc") -> PushSubscription:
        now_ms = self.world.clock.now_ms()
        made = PushSubscription(
            self.payer.wallet_id, self.service.url + path, self.browser.public, self.browser.secret, now_ms
        )
        self.world.run(lambda session: push_store.keep_subscription(session, made))
        return made

    def sender(self, **changes: Any) -> PushSender:
        rules = PushRules(CONTACT, **({"allow_private": True} | changes))
        return PushSender(self.world.engine, self.world.clock, self.key, rules)

    def asked(self) -> str:
        """Ask the customer for money and deliver; answers the notice's id."""
        payment = self.world.asked(self.world.shop(), self.payer, 10_00)
        self.world.clock.pass_s(GRACE_MS / 1000)
        self.deliver()
        return request_id(self.payer.wallet_id, payment.payment_id)

    def deliver(self, **changes: Any) -> None:
        world = self.world
        senders = {Channel.PUSH: self.sender(**changes)}
        deliverer = Deliverer(world.engine, world.clock, senders, PaymentConcern(), lambda: 0.0)
        for each in deliverer.offer_due():
            deliverer.deliver(each)

    def state(self, told: str) -> tuple[DeliveryState, Channel | None, int]:
        found = run_read(self.world.engine, lambda session: delivery_store.find(session, told))
        assert found is not None
        return found.state, found.channel, found.tries

    def subscribed(self) -> int:
        return len(run_read(self.world.engine, lambda s: push_store.subscriptions_of(s, self.payer.wallet_id)))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PaymentWorld]:
    made = PaymentWorld(tmp_path_factory.mktemp("push"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> PushKey:
    """The key as an operator makes it; a second one is not made over it."""
    folder = tmp_path_factory.mktemp("push_key")
    environment = {"TILLBOX_DATA_FOLDER": str(folder)}
    assert PushKey.load(folder / "push.pem") is None
    assert CliRunner().invoke(cloud_command, ["make-push-key"], env=environment).exit_code == 0
    assert CliRunner().invoke(cloud_command, ["make-push-key"], env=environment).exit_code == 1
    assert (folder / "push.pem").stat().st_mode & 0o077 == 0
    made = PushKey.load(folder / "push.pem")
    assert made is not None
    return made


@pytest.fixture
def desk(world: PaymentWorld, key: PushKey) -> Iterator[PushDesk]:
    with Service() as service:
        yield PushDesk(world, service, key, world.payer())


def test_our_browser_reads_the_example_of_the_standard() -> None:
    # RFC 8291 §5.
    number = int.from_bytes(bare("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
    browser = Browser(ec.derive_private_key(number, ec.SECP256R1()), bare("BTBZMqHH6r4Tts7J_aSIgg"))
    body = bare(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml"
        "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT"
        "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    assert browser.read(body) == b"When I grow up, I want to be a watermelon"


def test_a_request_reaches_the_browser_and_nobody_between_reads_it(desk: PushDesk) -> None:
    desk.subscribe("/push/abc?d=e")
    told = desk.asked()
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.PUSH, 1)
    ((headers, body),) = desk.service.got
    heard = json.loads(desk.browser.read(body))
    assert (heard["id"], heard["kind"], heard["title"]) == (told, "payment_requested", "Confirm a payment")
    assert heard["data"]["amount_minor"] == 10_00
    assert b"payment" not in body
    assert (headers["Content-Encoding"], headers["TTL"]) == ("aes128gcm", "3600")
    scheme, _, fields = headers["Authorization"].partition(" ")
    said = dict(part.split("=", 1) for part in fields.split(","))
    assert (scheme, bare(said["k"])) == ("vapid", desk.key.public)
    signed, _, signature = said["t"].rpartition(".")
    r, s = (int.from_bytes(bare(signature)[at : at + 32]) for at in (0, 32))
    verifier = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), desk.key.public)
    verifier.verify(encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(bare(signed.split(".")[1]))
    assert (claims["aud"], claims["sub"]) == (desk.service.url, CONTACT)
    assert claims["exp"] == desk.world.clock.now_ms() // 1000 + 3600


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(desk: PushDesk, status: int) -> None:
    desk.subscribe()
    desk.service.answers = [status]
    told = desk.asked()
    assert desk.state(told) == (DeliveryState.KEPT, None, 1)
    assert desk.subscribed() == 0


@pytest.mark.parametrize("status", [302, 307, 400, 413, 429, 500])
def test_a_service_that_refuses_is_asked_again_and_never_followed(desk: PushDesk, status: int) -> None:
    desk.subscribe()
    desk.service.answers = [status]
    told = desk.asked()
    assert desk.state(told) == (DeliveryState.WAITING, None, 1)
    assert len(desk.service.got) == 1
    desk.world.clock.pass_s(5)
    desk.deliver()
    assert desk.state(told) == (DeliveryState.DELIVERED, Channel.PUSH, 2)
    assert desk.subscribed() == 1


def test_a_service_that_never_answers_is_cut(desk: PushDesk) -> None:
    desk.subscribe()
    desk.service.answers = [0]
    payment = desk.world.asked(desk.world.shop(), desk.payer, 10_00)
    desk.world.clock.pass_s(GRACE_MS / 1000)
    desk.deliver(deadline_s=0.1)
    told = request_id(desk.payer.wallet_id, payment.payment_id)
    assert desk.state(told) == (DeliveryState.WAITING, None, 1)


def test_one_browser_that_takes_it_is_enough(desk: PushDesk) -> None:
    desk.subscribe("/one")
    desk.subscribe("/two")
    desk.service.answers = [500, 201]
    assert desk.state(desk.asked())[:2] == (DeliveryState.DELIVERED, Channel.PUSH)


def test_a_name_that_stands_for_a_private_address_is_not_asked(
    desk: PushDesk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="cloud.notifications.push")
    desk.subscribe()
    sender = desk.sender(allow_private=False)
    port = desk.service.url.rpartition(":")[2]
    notice = Notice(desk.payer.wallet_id, "test", "x", "Title", "Body", (), 0)
    notification = Notification("N1", notice, None)
    # First the address itself, then a name on the right port that leads here.
    assert sender(notification).value == "failed"
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    now_ms = desk.world.clock.now_ms()
    named = PushSubscription(
        desk.payer.wallet_id, f"https://rebound.example.org/{port}", desk.browser.public, desk.browser.secret, now_ms
    )
    desk.world.run(lambda session: push_store.keep_subscription(session, named))
    leading = PushSender(desk.world.engine, desk.world.clock, desk.key, PushRules(CONTACT), resolve)
    assert leading(notification).value == "failed"
    assert asked == ["rebound.example.org"]
    assert desk.service.got == []
    # Neither was refused by a port on which nobody listens, but by us, before anything was connected.
    assert {record.getMessage().rpartition("=")[2] for record in caplog.records} == {"PermissionError"}


def test_what_is_too_long_to_push_loses_its_data_only(desk: PushDesk) -> None:
    data = tuple((f"name{number}", "ä" * 100) for number in range(30))
    notice = Notice(desk.payer.wallet_id, "test", "x", "Title", "ä" * 500, data, 0)
    content = content_of(Notification("N1", notice, None))
    assert len(content) <= CONTENT_SIZE_MAX
    assert json.loads(content)["data"] == {}
    subscription = PushSubscription("W", desk.service.url, desk.browser.public, desk.browser.secret, 0)
    assert desk.browser.read(encrypt(subscription, content)) == content


async def test_browsers_are_subscribed_listed_and_removed_by_their_owner(desk: PushDesk) -> None:
    world, other = desk.world, desk.world.payer()
    app = FastAPI()
    install_error_handlers(app)
    access = Access(world.people.identity.find_session)
    app.include_router(make_router(PushApi(world.engine, world.clock, access, desk.key, PushRules(CONTACT))))
    keys = {"p256dh": spelled(desk.browser.public), "auth": spelled(desk.browser.secret)}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://cloud.test") as http:
        web = Web(http)
        shown = await web.ask(desk.payer, "GET", "/me/push/key")
        assert bare(shown.data["public_key"]) == desk.key.public
        ids = []
        for number in range(SUBSCRIPTIONS_MAX + 1):
            world.clock.pass_s(1)
            body = {"endpoint": f"https://push.example.org/{number}", "keys": keys}
            made = await web.ask(desk.payer, "POST", "/me/push/subscriptions", body)
            assert (made.status, made.data["service"]) == (201, "push.example.org")
            ids.append(made.data["subscription_id"])
        listed = (await web.ask(desk.payer, "GET", "/me/push/subscriptions")).data
        assert [each["subscription_id"] for each in listed] == ids[:0:-1]
        path = f"/me/push/subscriptions/{ids[-1]}"
        assert (await web.ask(other, "DELETE", path)).brief == (404, "subscription_unknown")
        assert (await web.ask(desk.payer, "DELETE", path)).brief == (200, "ok")
        assert (await web.ask(desk.payer, "DELETE", path)).brief == (404, "subscription_unknown")
        good = {"endpoint": "https://push.example.org/x", "keys": keys}
        for bad, where in (
            (good | {"endpoint": "http://push.example.org/x"}, "body.endpoint"),
            (good | {"endpoint": f"{desk.service.url}/x"}, "body.endpoint"),
            (good | {"keys": keys | {"auth": "AAAA"}}, "body.keys.auth"),
            (good | {"keys": keys | {"p256dh": spelled(b"\x04" + bytes(64))}}, "body.keys.p256dh"),
        ):
            told = await web.ask(desk.payer, "POST", "/me/push/subscriptions", bad)
            assert told.brief == (422, "subscription_invalid")
            assert set(told.body["errors"]) == {where}
        # A browser whose next user logs in is that user's.
        assert (await web.ask(other, "POST", "/me/push/subscriptions", good)).status == 201
        assert (await web.ask(desk.payer, "POST", "/me/push/subscriptions", good)).status == 201
        assert (await web.ask(other, "GET", "/me/push/subscriptions")).data == []


async def test_without_a_key_nothing_is_pushed_and_nobody_subscribes(world: PaymentWorld) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="https://cloud.test") as http:
        told = await Web(http).ask(world.payer(), "GET", "/me/push/key")
    assert told.brief == (404, "push_not_set_up")


def test_a_key_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "push.pem"
    file.write_text("no key")
    with pytest.raises(Exception, match=r"push\.pem"):
        PushKey.load(file)
