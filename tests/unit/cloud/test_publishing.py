"""Snapshot and policy: a new version when something changed or six hours went by, believed by a box from the root."""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from cloud.db import run_transaction
from cloud.fleet import publishing_store, service
from cloud.fleet.publishing import REISSUED_AFTER_MS, VALID_MS, Limits, Publisher, PublishingError, build_snapshot
from cloud.fleet.publishing_store import Published
from cloud.fleet.states import FleetRefusal
from cloud.fleet.tables import TRUST_SNAPSHOTS
from cloud.key_ceremony import rotate_key
from cloud.keyring import Keyring
from sync.ids import Serial, TerminalId
from sync.policy import Policy, open_policy
from sync.refusals import Refusal
from sync.roles import RoleUse
from sync.trust_snapshot import DENIED_MAX, HeldTrust, open_snapshot
from tests.fakes.fleet_keys import HOUR_MS, make_keyring

NOW_MS = 1_793_620_800_123
Refresh = Callable[[Engine, Publisher, int], Published]
ONE, TWO, THREE = (Serial(bytes(7) + bytes([number])) for number in (1, 2, 3))


@dataclass
class DenyListInHand:
    """Who is denied as the test says; notes which snapshot named whom."""

    serials: list[Serial] = field(default_factory=list)
    published: dict[int, tuple[Serial, ...]] = field(default_factory=dict)
    meanwhile: Callable[[Session], None] | None = None
    """What another process does once, right after the first question was answered."""

    def denied(self, session: Session, *, now_ms: int) -> Collection[Serial]:
        answer = list(self.serials)
        happens = self.meanwhile
        self.meanwhile = None
        if happens is not None:
            happens(session)
        return answer

    def mark_published(self, session: Session, serials: Collection[Serial], *, version: int) -> None:
        self.published[version] = tuple(serials)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ceremony") / "keys"
    make_keyring(folder, now_ms=NOW_MS)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "keys"))


@pytest.fixture
def publisher(folder: Path) -> Publisher:
    return Publisher(Keyring.load(folder, now_ms=NOW_MS), DenyListInHand(), Limits.of("EUR"))


def deny_list(publisher: Publisher) -> DenyListInHand:
    assert isinstance(publisher.deny_list, DenyListInHand)
    return publisher.deny_list


def snapshot_at(engine: Engine, publisher: Publisher, now_ms: int) -> Published:
    return run_transaction(engine, lambda session: publisher.refresh_snapshot(session, now_ms=now_ms))


def policy_at(engine: Engine, publisher: Publisher, now_ms: int) -> Published:
    return run_transaction(engine, lambda session: publisher.refresh_policy(session, now_ms=now_ms))


def held_by_a_box(publisher: Publisher, published: Published, *, now_ms: int) -> HeldTrust:
    held = open_snapshot(published.encoded, publisher.keyring.root, held_version=0, now_ms=now_ms)
    assert isinstance(held, HeldTrust)
    return held


def test_a_box_believes_snapshot_and_policy_for_72_hours(engine: Engine, publisher: Publisher) -> None:
    snapshot, policy = snapshot_at(engine, publisher, NOW_MS), policy_at(engine, publisher, NOW_MS)
    last_ms = NOW_MS + VALID_MS - 1
    held = held_by_a_box(publisher, snapshot, now_ms=last_ms)
    root = publisher.keyring.root
    assert open_snapshot(snapshot.encoded, root, held_version=0, now_ms=last_ms + 1) == Refusal.SNAPSHOT_EXPIRED
    opened = open_policy(policy.encoded, held.issuers, held_version=0, now_ms=last_ms)
    assert isinstance(opened, Policy)
    assert (
        replace(opened, key_id=publisher.limits.content.key_id, issued_ms=0, expires_ms=1) == Limits.of("EUR").content
    )
    assert open_policy(policy.encoded, held.issuers, held_version=0, now_ms=last_ms + 1) == Refusal.POLICY_EXPIRED


def test_a_snapshot_brings_every_role_key(engine: Engine, publisher: Publisher) -> None:
    held = held_by_a_box(publisher, snapshot_at(engine, publisher, NOW_MS), now_ms=NOW_MS)
    for use in RoleUse:
        key = publisher.keyring.signing_key(use, now_ms=NOW_MS).public_key
        assert held.issuers.find(use, key.key_id, at_ms=NOW_MS) == key


def test_nothing_new_is_published_while_nothing_changed_and_it_is_young(engine: Engine, publisher: Publisher) -> None:
    for refresh in (snapshot_at, policy_at):
        first = refresh(engine, publisher, NOW_MS)
        assert refresh(engine, publisher, NOW_MS + REISSUED_AFTER_MS - 1) == first
        second = refresh(engine, publisher, NOW_MS + REISSUED_AFTER_MS)
        assert (first.version, second.version) == (1, 2)
        assert second.issued_ms == NOW_MS + REISSUED_AFTER_MS


def test_a_box_always_has_most_of_its_72_hours_left() -> None:
    assert VALID_MS - REISSUED_AFTER_MS >= 66 * HOUR_MS


def test_a_denial_and_its_end_are_published_at_once(engine: Engine, publisher: Publisher) -> None:
    denied = deny_list(publisher)
    seen = []
    for serials in ([], [TWO, ONE], [ONE, TWO], [TWO]):
        denied.serials = serials
        published = snapshot_at(engine, publisher, NOW_MS)
        seen.append((published.version, held_by_a_box(publisher, published, now_ms=NOW_MS).denied))
    both = frozenset({ONE, TWO})
    assert seen == [(1, frozenset()), (2, both), (2, both), (3, frozenset({TWO}))]
    assert denied.published == {1: (), 2: (ONE, TWO), 3: (TWO,)}


def test_changed_limits_are_published_at_once(engine: Engine, publisher: Publisher) -> None:
    assert policy_at(engine, publisher, NOW_MS).version == 1
    stricter = replace(publisher, limits=Limits.of("EUR", one_way_limit_minor=20_00))
    assert policy_at(engine, stricter, NOW_MS).version == 2
    assert policy_at(engine, stricter, NOW_MS + 1).version == 2


def test_absurd_limits_are_refused_before_they_are_signed() -> None:
    with pytest.raises(ValueError, match="one_way_limit_minor"):
        Limits.of("EUR", one_way_limit_minor=-1)
    with pytest.raises(ValueError, match="currency"):
        Limits.of("eur")


def test_a_new_key_is_announced_at_once(engine: Engine, publisher: Publisher, folder: Path) -> None:
    assert snapshot_at(engine, publisher, NOW_MS).version == 1
    rotate_key(folder, RoleUse.GRANT, root_folder=folder / "root", now_ms=NOW_MS, ask_passphrase=str, at_once=False)
    rotated = replace(publisher, keyring=Keyring.load(folder, now_ms=NOW_MS))
    second = snapshot_at(engine, rotated, NOW_MS)
    assert second.version == 2
    new = rotated.keyring.of_use(RoleUse.GRANT)[-1]
    held = held_by_a_box(rotated, second, now_ms=NOW_MS)
    at_ms = new.role.not_before_ms
    assert held.issuers.find(RoleUse.GRANT, new.issuer.key.key_id, at_ms=at_ms) == new.issuer.key


@pytest.mark.parametrize(("use", "refresh"), [(RoleUse.TRUST, snapshot_at), (RoleUse.POLICY, policy_at)])
def test_a_replaced_signing_key_signs_anew_at_once(
    engine: Engine, publisher: Publisher, folder: Path, use: RoleUse, refresh: Refresh
) -> None:
    first = refresh(engine, publisher, NOW_MS)
    rotate_key(folder, use, root_folder=folder / "root", now_ms=NOW_MS, ask_passphrase=str, at_once=True)
    rotated = replace(publisher, keyring=Keyring.load(folder, now_ms=NOW_MS))
    assert refresh(engine, rotated, NOW_MS).version == first.version + 1


def test_nothing_outlives_the_key_that_signs_it(engine: Engine, publisher: Publisher) -> None:
    ends_ms = publisher.keyring.current(RoleUse.TRUST, now_ms=NOW_MS).role.not_after_ms
    late_ms = ends_ms - HOUR_MS
    snapshot, policy = snapshot_at(engine, publisher, late_ms), policy_at(engine, publisher, late_ms)
    held = held_by_a_box(publisher, snapshot, now_ms=ends_ms - 1)
    assert held.expires_ms == ends_ms
    opened = open_policy(policy.encoded, held.issuers, held_version=0, now_ms=ends_ms - 1)
    assert isinstance(opened, Policy)


def test_a_clock_set_back_publishes_anew_instead_of_waiting_for_the_future(
    engine: Engine, publisher: Publisher
) -> None:
    assert snapshot_at(engine, publisher, NOW_MS).version == 1
    assert snapshot_at(engine, publisher, NOW_MS - 60_000).version == 2
    assert snapshot_at(engine, publisher, NOW_MS - 59_000).version == 2


def test_who_loses_the_race_for_a_version_reads_the_denials_again(engine: Engine, publisher: Publisher) -> None:
    """Another process denies a payer and publishes that, after we have read the denials and before we publish."""
    denied = deny_list(publisher)
    denied.serials = [ONE]

    def deny_and_publish(session: Session) -> None:
        denied.serials = [ONE, THREE]
        others = build_snapshot(publisher.keyring, (ONE, THREE), version=1, now_ms=NOW_MS)
        assert publishing_store.append(session, TRUST_SNAPSHOTS, others)

    denied.meanwhile = deny_and_publish
    published = snapshot_at(engine, publisher, NOW_MS)
    assert published.version == 1
    assert held_by_a_box(publisher, published, now_ms=NOW_MS).denied == {ONE, THREE}


def test_a_full_deny_list_is_an_error_and_not_cut(engine: Engine, publisher: Publisher) -> None:
    deny_list(publisher).serials = [Serial(number.to_bytes(8, "big")) for number in range(DENIED_MAX + 1)]
    with pytest.raises(PublishingError) as refused:
        snapshot_at(engine, publisher, NOW_MS)
    assert refused.value.code == "deny_list_full"


def test_the_fullest_snapshot_can_be_published(engine: Engine, publisher: Publisher) -> None:
    serials = [Serial(b"\xff" + number.to_bytes(7, "big")) for number in range(DENIED_MAX)]
    deny_list(publisher).serials = serials
    published = snapshot_at(engine, publisher, NOW_MS)
    assert held_by_a_box(publisher, published, now_ms=NOW_MS).denied == set(serials)


def test_an_unknown_terminal_gets_nothing(engine: Engine) -> None:
    unknown = run_transaction(engine, lambda session: service.publishable(session, TerminalId(bytes(8))))
    assert unknown == FleetRefusal.UNKNOWN_TERMINAL
