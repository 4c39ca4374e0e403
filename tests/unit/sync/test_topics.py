"""The table of topics: what stands in it, and that a topic is read back strictly."""

import pytest

from sync.ids import TerminalId
from sync.topics import (
    ACKNOWLEDGEMENT,
    ANSWER,
    AUTHORISE,
    CARRIED,
    COMMAND,
    HELLO,
    POLICY,
    RECORDS,
    STATUS,
    TOPICS,
    TRUST,
    Direction,
    Topic,
    parse_topic,
    shared_subscription,
    subscription,
    terminal_name,
    topic,
)

TERMINAL = TerminalId(bytes.fromhex("00a1b2c3d4e5f6ff"))
NAME = "00a1b2c3d4e5f6ff"


def test_what_goes_up_and_what_comes_down_is_as_decided() -> None:
    up = {row for row in TOPICS if row.direction is Direction.UP}
    assert up == {HELLO, RECORDS, CARRIED, STATUS, AUTHORISE}
    assert set(TOPICS) - up == {ACKNOWLEDGEMENT, TRUST, POLICY, COMMAND, ANSWER}


def test_only_the_latest_status_trust_and_policy_are_retained() -> None:
    assert {row for row in TOPICS if row.retained} == {STATUS, TRUST, POLICY}


def test_every_row_is_delivered_at_least_once_and_says_what_it_carries() -> None:
    assert len({row.name for row in TOPICS}) == len(TOPICS)
    for row in TOPICS:
        assert row.qos == 1
        assert row.payload
        assert row.publisher


@pytest.mark.parametrize("row", TOPICS, ids=lambda row: row.name)
def test_a_topic_is_read_back_as_its_row_and_terminal(row: Topic) -> None:
    assert topic(row, TERMINAL) == f"tillbox/v1/{NAME}/{row.name}"
    assert parse_topic(topic(row, TERMINAL)) == (row, TERMINAL)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tillbox",
        f"tillbox/v1/{NAME}",
        f"tillbox/v1/{NAME}/",
        f"tillbox/v1/{NAME}/unknown",
        f"tillbox/v1/{NAME}/Records",
        f"tillbox/v1/{NAME}/records/",
        f"tillbox/v1/{NAME}/records/more",
        f"tillbox/v1/{NAME}/records\n",
        f" tillbox/v1/{NAME}/records",
        f"/tillbox/v1/{NAME}/records",
        f"tillbox/v2/{NAME}/records",
        f"other/v1/{NAME}/records",
        f"tillbox/v1/{NAME.upper()}/records",
        f"tillbox/v1/{NAME[:-1]}/records",
        f"tillbox/v1/{NAME}0/records",
        f"tillbox/v1/{NAME[:-2]} 0/records",
        f"tillbox/v1/{NAME[:-1]}\N{FULLWIDTH DIGIT ONE}/records",
        "tillbox/v1/+/records",
        "tillbox/v1/#",
        "$share/ingest/tillbox/v1/+/records",
    ],
)
def test_anything_else_is_foreign(text: str) -> None:
    assert parse_topic(text) is None


def test_a_subscription_matches_every_terminal() -> None:
    assert subscription(RECORDS) == "tillbox/v1/+/records"
    assert shared_subscription("ingest-1", RECORDS) == "$share/ingest-1/tillbox/v1/+/records"


@pytest.mark.parametrize("group", ["", "a/b", "+", "#", "Ingest", "a b", "x" * 33])
def test_a_group_name_that_would_change_the_filter_is_an_error(group: str) -> None:
    with pytest.raises(ValueError, match="group name"):
        shared_subscription(group, RECORDS)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_terminal_id_of_another_length_is_an_error(size: int) -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        topic(RECORDS, TerminalId(bytes(size)))


def test_a_terminals_name_is_lower_case_hex() -> None:
    assert terminal_name(TERMINAL) == NAME
