"""A real broker lets in what the fleet CA issued and nobody revoked."""

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from cloud.db import run_transaction
from cloud.fleet import authority, service
from cloud.fleet.broker_access import render_access_list
from cloud.key_ceremony import write_new_file
from cloud.keyring import to_pem
from demo.processes import LOOPBACK
from demo.servers import Mosquitto, TlsFiles
from sync.ids import TerminalId
from sync.topics import RECORDS, topic
from tests.fakes.fleet_keys import NewBox
from tests.fakes.fleet_world import (
    FleetWorld,
    change,
    terminal_id_in,
)
from tests.servers.fixtures import MakeMosquitto
from tests.servers.mqtt_client import MqttClient

WORKER = "cloud-ingest"


# The broker


def write_broker_files(world: FleetWorld, folder: Path) -> TlsFiles:
    now_ms = world.clock.now_ms()
    ca = world.keyring.fleet_ca(now_ms=now_ms)
    issued = authority.issue_server_certificate(ca, [LOOPBACK, "localhost"], now_ms=now_ms)
    worker = authority.issue_worker_certificate(ca, WORKER, now_ms=now_ms)
    for name, identity in (("broker", issued), (WORKER, worker)):
        write_new_file(folder / f"{name}.key", identity.private_key_pem, is_secret=True)
        write_new_file(folder / f"{name}.crt", to_pem([identity.certificate]))
    write_new_file(folder / "ca.crt", to_pem(world.keyring.ca_certificates(now_ms=now_ms)))
    write_revocations(world, folder / "revoked.pem")
    return TlsFiles(folder / "ca.crt", folder / "broker.crt", folder / "broker.key", folder / "revoked.pem")


def write_revocations(world: FleetWorld, path: Path) -> None:
    now_ms = world.clock.now_ms()
    path.write_bytes(
        run_transaction(world.engine, lambda session: service.export_revocations(session, world.keyring, now_ms=now_ms))
    )


def enrol_to_files(world: FleetWorld, folder: Path, box: NewBox) -> str:
    """Enrol a box and write what its link needs; answers its name."""
    answer = world.enrol(box.request(world.code()))
    name = terminal_id_in(answer.certificate).hex()
    stem = f"{name}-{answer.epoch}"
    (folder / f"{stem}.crt").write_bytes(to_pem([x509.load_der_x509_certificate(answer.link_certificate)]))
    (folder / f"{stem}.key").write_bytes(box.link_key_pem())
    return stem


def client(folder: Path, stem: str, broker: Mosquitto) -> MqttClient:
    plain = MqttClient(stem, port=broker.port)
    return plain.use_tls(ca=folder / "ca.crt", certificate=folder / f"{stem}.crt", key=folder / f"{stem}.key")


@pytest.fixture
def broker(small_world: FleetWorld, tmp_path: Path, make_mosquitto: MakeMosquitto) -> Mosquitto:
    tls = write_broker_files(small_world, tmp_path)
    return make_mosquitto(tls=tls, access_list=render_access_list([WORKER]))


def test_the_broker_binds_an_enrolled_terminal_to_its_topics(
    small_world: FleetWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    stem = enrol_to_files(small_world, tmp_path, NewBox())
    (terminal,) = small_world.terminals()
    with client(tmp_path, WORKER, broker) as worker, client(tmp_path, stem, broker) as box:
        worker.subscribe(topic(RECORDS, terminal.terminal_id))
        box.publish(topic(RECORDS, terminal.terminal_id), b"batch")
        worker.wait_until(lambda: worker.payloads() == [b"batch"])
        box.publish(topic(RECORDS, TerminalId(bytes(8))), b"under another name")
        assert box.refused == 1


@pytest.mark.parametrize("how", ["retired", "enrolled again"])
def test_the_broker_refuses_a_revoked_link_and_no_other(
    small_world: FleetWorld, broker: Mosquitto, tmp_path: Path, how: str
) -> None:
    revoked = enrol_to_files(small_world, tmp_path, NewBox("board-1"))
    (first,) = small_world.terminals()
    other = enrol_to_files(small_world, tmp_path, NewBox("board-2"))
    for stem in (revoked, other):
        with client(tmp_path, stem, broker):
            pass
    now_ms = small_world.clock.now_ms()
    if how == "retired":
        run_transaction(
            small_world.engine, lambda session: service.retire(session, first.terminal_id, reason="lost", now_ms=now_ms)
        )
    else:
        run_transaction(
            small_world.engine, lambda session: service.allow_re_enrolment(session, first.terminal_id, now_ms=now_ms)
        )
        other = enrol_to_files(small_world, tmp_path, NewBox("board-1"))
        assert other.startswith(first.terminal_id.hex())
    write_revocations(small_world, tmp_path / "revoked.pem")
    broker.reload()
    with client(tmp_path, other, broker), pytest.raises(OSError):
        client(tmp_path, revoked, broker).connect()


def test_a_revoked_box_that_is_connected_stays_until_the_broker_starts_again(
    small_world: FleetWorld, broker: Mosquitto, tmp_path: Path
) -> None:
    """Why the runbook restarts the broker for a stolen box: a reload looks at new connections only."""
    stem = enrol_to_files(small_world, tmp_path, NewBox())
    terminal = change(small_world, service.retire, reason="stolen", now_ms=small_world.clock.now_ms())
    with client(tmp_path, stem, broker) as box:
        write_revocations(small_world, tmp_path / "revoked.pem")
        broker.reload()
        with client(tmp_path, WORKER, broker), pytest.raises(OSError):
            client(tmp_path, stem, broker).connect()
        box.publish(topic(RECORDS, terminal.terminal_id), b"still here")
        assert box.published == 1
    broker.restart()
    with pytest.raises(OSError):
        client(tmp_path, stem, broker).connect()


def test_the_brokers_own_certificate_is_no_clients(small_world: FleetWorld, broker: Mosquitto, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        client(tmp_path, "broker", broker).connect()


def test_a_link_certificate_is_no_server(
    small_world: FleetWorld, tmp_path: Path, make_mosquitto: MakeMosquitto
) -> None:
    """A box that opens a broker of its own cannot catch another box's messages."""
    tls = write_broker_files(small_world, tmp_path)
    stem = enrol_to_files(small_world, tmp_path, NewBox())
    false_tls = replace(tls, certificate=tmp_path / f"{stem}.crt", key=tmp_path / f"{stem}.key")
    false_broker = make_mosquitto(tls=false_tls, access_list=render_access_list([WORKER]))
    context = ssl.create_default_context(cafile=tls.ca)
    plain = socket.create_connection((LOOPBACK, false_broker.port), timeout=10)
    with plain, pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        context.wrap_socket(plain, server_hostname=LOOPBACK)
