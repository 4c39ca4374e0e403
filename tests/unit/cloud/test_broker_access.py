"""The broker's configuration and access list, as text; that Mosquitto obeys them is shown in tests/integration."""

from dataclasses import replace

import pytest

from cloud.fleet.broker_access import BrokerFiles, render_access_list, render_configuration
from sync.topics import TOPICS, Direction

FILES = BrokerFiles(
    ca="/etc/tillbox/ca.crt",
    certificate="/etc/tillbox/broker.crt",
    key="/etc/tillbox/broker.key",
    access_list="/etc/tillbox/access list",
    data="/var/lib/tillbox",
)


def options(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition(" ") for line in lines)}


def test_there_is_one_listener_and_it_demands_tls_1_3_and_a_certificate() -> None:
    text = render_configuration(FILES, bind="127.0.0.1", port=8883)
    assert text.count("listener ") == 1
    given = options(text)
    assert given["listener"] == "8883 127.0.0.1"
    assert given["tls_version"] == "tlsv1.3"
    assert given["require_certificate"] == "true"
    assert given["use_identity_as_username"] == "true"
    assert given["allow_anonymous"] == "false"


def test_the_files_stand_where_they_were_said_to_be() -> None:
    given = options(render_configuration(FILES, bind="127.0.0.1", port=8883))
    assert given["cafile"] == FILES.ca
    assert given["certfile"] == FILES.certificate
    assert given["keyfile"] == FILES.key
    assert given["acl_file"] == FILES.access_list
    assert given["persistence_location"] == "/var/lib/tillbox/"
    assert "crlfile" not in given


def test_what_is_retained_is_written_in_time_and_not_at_each_message() -> None:
    given = options(render_configuration(FILES, bind="127.0.0.1", port=8883))
    assert (given["persistence"], given["autosave_on_changes"]) == ("true", "false")
    assert 1 <= int(given["autosave_interval"]) <= 60


def test_what_the_broker_holds_is_bounded() -> None:
    given = options(render_configuration(FILES, bind="127.0.0.1", port=8883))
    for name in ("max_packet_size", "max_inflight_messages", "max_queued_messages", "max_queued_bytes"):
        assert int(given[name]) > 0


def test_a_revocation_list_and_a_user_are_named_when_given() -> None:
    files = replace(FILES, revoked="/etc/tillbox/revoked.pem")
    given = options(render_configuration(files, bind="::1", port=8883, run_as="mosquitto"))
    assert given["crlfile"] == "/etc/tillbox/revoked.pem"
    assert given["user"] == "mosquitto"


@pytest.mark.parametrize("value", ["", "two\nlines", " led by a space", "a\0null"])
def test_a_value_that_would_break_out_of_its_line_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="not one printable line"):
        render_configuration(replace(FILES, ca=value), bind="127.0.0.1", port=8883)


@pytest.mark.parametrize("bind", ["127.0.0.1 extra", "127.0.0.1\nallow_anonymous true"])
def test_an_address_that_would_add_an_option_is_an_error(bind: str) -> None:
    with pytest.raises(ValueError, match="not one"):
        render_configuration(FILES, bind=bind, port=8883)


def test_a_terminal_is_bound_to_its_own_name_on_every_topic_and_only_in_its_direction() -> None:
    lines = render_access_list([]).splitlines()
    rights = [line for line in lines if line.startswith("pattern ")]
    assert rights == [
        f"pattern {'write' if row.direction is Direction.UP else 'read'} tillbox/v1/%u/{row.name}" for row in TOPICS
    ]


def test_a_worker_reads_what_terminals_write_and_writes_what_they_read() -> None:
    section = render_access_list(["cloud-ingest"]).partition("user cloud-ingest\n")[2]
    assert section.splitlines() == [
        f"topic {'read' if row.direction is Direction.UP else 'write'} tillbox/v1/+/{row.name}" for row in TOPICS
    ]


def test_every_right_names_a_user_or_its_own_name() -> None:
    # A "topic" line before the first "user" line would be everybody's.
    before = render_access_list(["cloud-a", "cloud-b"]).partition("user ")[0]
    assert "topic " not in before


@pytest.mark.parametrize("name", ["", "ingest", "00a1b2c3d4e5f6ff", "cloud-", "cloud-a b", "cloud-a\nuser x"])
def test_a_worker_whose_name_is_not_one_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="cloud-"):
        render_access_list([name])
