"""Letters on real MariaDB: an address confirmed, a password chosen anew, nothing said of whose addresses we know."""

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, select, text

from cloud.db import run_read, run_transaction
from cloud.identity import action_store, login_service
from cloud.identity.action_store import ActionSubject
from cloud.identity.mailer import MailError, SmtpMailer
from cloud.identity.mails import Letter
from cloud.identity.tables import MAIL_TOKENS, MAILS
from cloud.permissions import Role
from cloud.upkeep import Upkeep
from tests.fakes.identity_world import PASSWORD, IdentityWorld
from tests.servers.certificates import make_certificates
from tests.servers.mariadb import MariaDb

NEW_PASSWORD = "nine other rows"
_numbers = iter(range(1, 10_000))


@dataclass
class Postbox:
    """Takes letters, or refuses as many as it is told."""

    refuses: int = 0
    letters: list[Letter] = field(default_factory=list)

    async def send(self, letter: Letter) -> None:
        if self.refuses:
            self.refuses -= 1
            raise MailError("not now")
        self.letters.append(letter)

    def token(self) -> str:
        """The token of the newest letter."""
        found = re.search(r"#token=([\w-]{43})$", self.letters[-1].text, re.MULTILINE)
        assert found is not None, self.letters[-1]
        return found[1]


@pytest.fixture(scope="module")
def people(mariadb: MariaDb, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdentityWorld]:
    made = IdentityWorld(tmp_path_factory.mktemp("mails"), mariadb.create_database("mails"))
    yield made
    made.close()
    mariadb.drop_database("mails")


@pytest.fixture
def world(people: IdentityWorld) -> IdentityWorld:
    """The cloud with no letter under way, some time after the test before."""
    run_transaction(people.engine, lambda session: session.execute(MAILS.delete()))
    people.clock.pass_s(3600)
    return people


@pytest.fixture
async def http(world: IdentityWorld) -> AsyncIterator[httpx.AsyncClient]:
    async with world.http() as client:
        yield client


async def deliver(world: IdentityWorld, postbox: Postbox) -> Postbox:
    """Let the worker's upkeep send what is due."""

    async def nowhere(*_: object) -> bool:
        return True

    cloud = replace(world.clouds.cloud, identity=world.identity, mailer=postbox)
    await Upkeep(cloud, nowhere).mail()
    return postbox


def somebody(world: IdentityWorld) -> str:
    email = f"ada{next(_numbers)}@example.org"
    world.person(email, Role.CUSTOMER, scope="W000000000001")
    return email


async def forget(http: httpx.AsyncClient, email: str) -> tuple[int, str]:
    return brief(await http.post("/api/v1/auth/password-reset", json={"email": email}))


async def choose(http: httpx.AsyncClient, token: str, new_password: str = NEW_PASSWORD) -> tuple[int, str]:
    body = {"token": token, "new_password": new_password}
    return brief(await http.post("/api/v1/auth/password-reset/confirm", json=body))


def brief(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_forgotten_password_is_chosen_anew_and_every_session_ends(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    email = somebody(world)
    opened = world.signed_in(email)
    assert await forget(http, f" {email.upper()}") == (200, "ok")
    postbox = await deliver(world, Postbox())
    assert [letter.to for letter in postbox.letters] == [email]
    token = postbox.token()
    with world.engine.connect() as connection:
        stored = [str(row) for table in (MAILS, MAIL_TOKENS) for row in connection.execute(select(table))]
    assert not any(token in row or email in row for row in stored)

    assert await choose(http, token, "short") == (422, "password_too_short")
    assert await choose(http, token, email) == (422, "password_is_email")
    assert world.identity.find_session(opened.token) is not None
    assert await choose(http, token) == (200, "ok")
    assert world.identity.find_session(opened.token) is None
    assert await choose(http, token, PASSWORD) == (409, "link_over")
    person = world.log_in(email, password=NEW_PASSWORD).person  # type: ignore[attr-defined]
    assert person.is_email_verified
    notes = run_read(world.engine, lambda s: action_store.actions_about(s, ActionSubject.LOGIN, person.login_id))
    assert [(note.action, note.detail) for note in notes] == [("reset_password", "1 sessions ended")]
    world.person("op@example.org", Role.SUPPORT)
    headers = {"Authorization": f"Bearer {world.signed_in('op@example.org').token}"}
    shown = await http.get(f"/api/v1/operator/logins/{person.login_id}/actions", headers=headers)
    assert [each["action"] for each in shown.json()["data"]] == ["reset_password"]


async def test_asking_does_the_same_for_an_address_that_nobody_has(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    known = somebody(world)
    said: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        said.append(statement)

    async def ask(email: str) -> tuple[list[str], dict[str, Any]]:
        said.clear()
        answer = await http.post("/api/v1/auth/password-reset", json={"email": email})
        body = answer.json()
        del body["request_id"]
        # Inserts hold their values, and a savepoint's name is numbered.
        return [re.sub(r"x'[0-9a-f]*'|\d+", "#", each) for each in said], body

    await forget(http, "first@example.org")  # The first visit from an address makes its row.
    event.listen(world.engine, "before_cursor_execute", listen)
    try:
        assert await ask(known) == await ask("nobody@example.org")
    finally:
        event.remove(world.engine, "before_cursor_execute", listen)
    postbox = await deliver(world, Postbox())
    assert [letter.to for letter in postbox.letters] == [known]
    with world.engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM mails")).scalar_one() == 0


async def test_the_sixth_letter_in_an_hour_is_not_asked_for_known_or_not(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    for email in (somebody(world), f"nobody{next(_numbers)}@example.org"):
        assert [await forget(http, email) for _ in range(5)] == [(200, "ok")] * 5
        assert await forget(http, email) == (429, "too_many_attempts")
        world.clock.pass_s(3600)
        assert await forget(http, email) == (200, "ok")


async def test_a_link_is_over_after_its_time_after_another_was_used_and_after_the_password_was_changed(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    email, postbox = somebody(world), Postbox()
    await forget(http, email)
    late = (await deliver(world, postbox)).token()
    world.clock.pass_s(30 * 60)
    assert await choose(http, late) == (409, "link_over")

    await forget(http, email)
    first = (await deliver(world, postbox)).token()
    await forget(http, email)
    second = (await deliver(world, postbox)).token()
    person = world.signed_in(email).person
    assert brief(await http.post("/api/v1/auth/email-verification/confirm", json={"token": second})) == (
        409,
        "link_over",
    )
    assert await choose(http, second) == (200, "ok")
    assert await choose(http, first) == (409, "link_over")

    await forget(http, email)
    third = (await deliver(world, postbox)).token()
    assert world.identity.change_password(person, password=NEW_PASSWORD, new_password=PASSWORD) is None
    assert await choose(http, third) == (409, "link_over")
    for odd in ("x", "A" * 43, "\ud800", "é" * 43):
        answer = await http.post(
            "/api/v1/auth/password-reset/confirm",
            content='{"token": "%s", "new_password": "%s"}' % (odd.encode("unicode_escape").decode(), NEW_PASSWORD),  # noqa: UP031
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (409, 422), odd


async def test_a_suspended_login_gets_no_letter_and_no_new_password(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    email, postbox = somebody(world), Postbox()
    login_id = world.signed_in(email).person.login_id
    await forget(http, email)
    token = (await deliver(world, postbox)).token()
    now_ms = world.clock.now_ms()
    run_transaction(world.engine, lambda s: login_service.suspend(s, login_id, now_ms=now_ms))
    assert await choose(http, token) == (403, "login_suspended")
    await forget(http, email)
    assert len((await deliver(world, postbox)).letters) == 1


async def test_a_letter_is_tried_three_times_with_growing_pauses_and_then_given_up(
    world: IdentityWorld, http: httpx.AsyncClient
) -> None:
    email, postbox = somebody(world), Postbox(refuses=2)
    await forget(http, email)
    await deliver(world, postbox)
    await deliver(world, postbox)
    assert (postbox.refuses, postbox.letters) == (1, [])  # Not before its time.
    world.clock.pass_s(30)
    await deliver(world, postbox)
    world.clock.pass_s(119)
    await deliver(world, postbox)
    assert (postbox.refuses, postbox.letters) == (0, [])
    world.clock.pass_s(1)
    assert len((await deliver(world, postbox)).letters) == 1
    assert await choose(http, postbox.token()) == (200, "ok")

    world.clock.pass_s(3600)
    await forget(http, email)
    postbox.refuses = 3
    for _ in range(4):
        await deliver(world, postbox)
        world.clock.pass_s(120)
    assert (postbox.refuses, len(postbox.letters)) == (0, 1)
    with world.engine.connect() as connection:
        assert connection.execute(text("SELECT attempts_count, due_ms FROM mails")).all() == [(3, None)]
    world.clock.pass_s(30 * 24 * 3600)
    now_ms = world.clock.now_ms()
    run_transaction(world.engine, lambda session: login_service.forget_old(session, now_ms=now_ms))
    with world.engine.connect() as connection:
        assert connection.execute(select(MAILS)).all() == connection.execute(select(MAIL_TOKENS)).all() == []


async def test_who_registers_confirms_the_address(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    number = next(_numbers)
    new = {"name": "Bob", "email": f"bob{number}@example.org", "phone": f"+4915100{number:05}", "password": PASSWORD}
    assert (await http.post("/api/v1/auth/register", json=new)).status_code == 201
    postbox = await deliver(world, Postbox())
    headers = {"Authorization": f"Bearer {world.signed_in(new['email']).token}"}

    async def is_verified() -> bool:
        me = await http.get("/api/v1/auth/me", headers=headers)
        answer: bool = me.json()["data"]["is_email_verified"]
        return answer

    assert not await is_verified()
    assert (await http.post("/api/v1/auth/email-verification", headers=headers)).status_code == 200
    first, second = postbox.token(), (await deliver(world, postbox)).token()
    assert await choose(http, second) == (409, "link_over")
    path = "/api/v1/auth/email-verification/confirm"
    assert brief(await http.post(path, json={"token": second})) == (200, "ok")
    assert await is_verified()
    assert brief(await http.post(path, json={"token": first})) == (409, "link_over")


async def test_without_a_mail_server_letters_lie_in_a_folder(world: IdentityWorld, http: httpx.AsyncClient) -> None:
    email = somebody(world)
    await forget(http, email)
    cloud = world.clouds.cloud
    await deliver(world, cloud.mailer)  # type: ignore[arg-type]
    (file,) = cloud.settings.mail_folder.glob("*.eml")
    letter = message_from_bytes(file.read_bytes())
    assert (letter["To"], letter["Subject"]) == (email, "Choose a new password")
    assert "http://localhost:8800/reset-password#token=" in letter.get_payload()
    file.unlink()


@dataclass
class MailServer:
    """Speaks just enough SMTP over TLS; keeps what it was sent."""

    heard: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test\r\n")
        in_data = False
        while line := await reader.readline():
            said = line.decode().rstrip("\r\n")
            self.heard.append(said)
            if in_data:
                in_data = said != "."
                answer = b"" if in_data else b"250 kept\r\n"
            elif said.startswith("ehlo"):
                answer = b"250-mail.test\r\n250 AUTH PLAIN\r\n"
            elif said == "data":
                in_data, answer = True, b"354 go on\r\n"
            else:
                answer = (
                    b"235 in\r\n" if said.startswith("AUTH") else b"221 bye\r\n" if said == "QUIT" else b"250 ok\r\n"
                )
            writer.write(answer)
            await writer.drain()
            if said == "QUIT":
                break
        writer.close()


async def test_a_letter_goes_to_a_mail_server_over_tls_and_to_no_stranger(tmp_path: Path) -> None:
    right, wrong = make_certificates(tmp_path / "right", []), make_certificates(tmp_path / "wrong", [])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(right.server.certificate, right.server.key)
    heard = MailServer()
    server = await asyncio.start_server(heard.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    letter = Letter("ada@example.org", "Subject", "Text")
    async with server:
        url, sender = f"smtps://us%40er:secret@127.0.0.1:{port}", "Tillbox <no-reply@example.org>"
        await SmtpMailer(url, sender, ssl.create_default_context(cafile=right.ca)).send(letter)
        said = list(heard.heard)
        with pytest.raises(MailError, match="SSLCertVerificationError"):
            await SmtpMailer(url, sender, ssl.create_default_context(cafile=wrong.ca)).send(letter)
        with pytest.raises(MailError):
            await SmtpMailer(f"smtp://127.0.0.1:{port}", sender).send(letter)
        assert heard.heard == said
    assert base64.b64decode(said[1].removeprefix("AUTH PLAIN ")) == b"\0us@er\0secret"
    assert said[2].startswith("mail FROM:<no-reply@example.org>")
    assert said[3:5] == ["rcpt TO:<ada@example.org>", "data"]
    assert {"From: Tillbox <no-reply@example.org>", "To: ada@example.org", "Text", "."} <= set(said)
    assert "secret" not in repr(SmtpMailer(url, sender))


async def test_a_mail_server_that_is_away_or_without_tls_gets_nothing() -> None:
    heard = MailServer()
    server = await asyncio.start_server(heard.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(MailError):
            await SmtpMailer(f"smtp://user:secret@127.0.0.1:{port}", "a@example.org").send(Letter("b@c", "S", "T"))
    assert not any("AUTH" in line or "data" in line for line in heard.heard)
    with pytest.raises(MailError, match="ConnectionRefusedError"):
        await SmtpMailer(f"smtps://127.0.0.1:{port}", "a@example.org").send(Letter("b@c", "S", "T"))
