"""What boxes trust, changed by several at once: snapshots published, codes for enrolment used."""

import random
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cloud.db import run_read
from cloud.fleet.states import EnrolmentRefusal
from cloud.fleet.tables import ENROLMENT_CODES, ENROLMENT_FAILURES, TERMINALS, TRUST_SNAPSHOTS
from cloud.wallets.release_service import report_key_lost
from cloud.wallets.tables import DENIED_SERIALS
from sync.enrolment import ENROLMENT_ANSWER
from sync.refusals import Refusal
from sync.trust_snapshot import TRUST_SNAPSHOT
from tests.concurrency.ground import Ground
from tests.concurrency.lane import Work
from tests.concurrency.scenarios.sessions import transaction
from tests.concurrency.scene import Scene
from tests.fakes.fleet_keys import NewBox


def two_publishers(ground: Ground, chance: random.Random) -> Scene:
    """Two processes publish while a phone is reported lost: a newer version never says less than an older one."""
    customer = ground.customer(funds_minor=50_00)
    phone = ground.phone(customer)

    def publish(session: Session) -> None:
        ground.world.cloud.publisher.refresh_snapshot(session, now_ms=ground.now_ms)

    def report(session: Session) -> int:
        return len(report_key_lost(session, customer.device_id, now_ms=ground.now_ms) or [])

    def published(session: Session) -> dict[str, object]:
        rows = session.execute(select(TRUST_SNAPSHOTS).order_by(TRUST_SNAPSHOTS.c.version)).all()
        says = []
        for row in rows:
            message = TRUST_SNAPSHOT.read(row.encoded)
            assert not isinstance(message, Refusal)
            says.append(set(message.content.denied))
        (noted,) = session.scalars(
            select(DENIED_SERIALS.c.snapshot_version).where(DENIED_SERIALS.c.serial == phone.serial)
        )
        first = next((row.version for row, denied in zip(rows, says, strict=True) if phone.serial in denied), None)
        return {
            "is denied": phone.serial in says[-1],
            "noted is first": noted == first,
            "never less": all(older <= newer for older, newer in pairwise(says)),
            "no gap": [row.version for row in rows] == list(range(1, len(rows) + 1)),
        }

    sessions = {"one": transaction(publish), "two": transaction(publish), "report": transaction(report)}
    names = {bytes(phone.serial): "the grant"}
    return Scene(sessions, {"payer": customer}, names=names, more=lambda: run_read(ground.engine, published))


def one_code_two_boxes(ground: Ground, chance: random.Random) -> Scene:
    """Two boards want to enrol by one code; one of them asks twice, impatiently, with the same request or another."""
    # Refused codes are counted by the hour, and after a hundred of them nobody is let in.
    ground.world.clock.pass_s(3600)
    code = ground.world.enrolment_code()
    boards = [NewBox(hardware_serial=f"board-{ground.number()}") for _ in range(2)]
    request = boards[0].request(code)
    again = request if chance.random() < 0.5 else boards[0].request(code)
    failures = _failures(ground)

    def seen(session: Session) -> dict[str, object]:
        serials = [board.hardware_serial for board in boards]
        used = session.execute(select(ENROLMENT_CODES).where(ENROLMENT_CODES.c.selector == code[:4])).one()
        enrolled = select(TERMINALS.c.enrolled_serial).where(TERMINALS.c.enrolled_serial.in_(serials))
        return {
            "enrolled": [serials.index(each) for each in session.scalars(enrolled)],
            "tries": used.tries,
            "used": used.used_ms is not None,
            "failures": _failures(ground) - failures,
        }

    sessions = {
        "board": _enrol(ground, request),
        "again": _enrol(ground, again),
        "other": _enrol(ground, boards[1].request(code)),
    }
    return Scene(sessions, more=lambda: run_read(ground.engine, seen))


def _enrol(ground: Ground, request: bytes) -> Work:
    def work(session: Session) -> object:
        answer = ground.world.enrolment.enrol(session, request, now_ms=ground.now_ms)
        if isinstance(answer, EnrolmentRefusal):
            return answer
        message = ENROLMENT_ANSWER.read(answer)
        assert not isinstance(message, Refusal)
        return message.content.epoch

    return transaction(work)


def _failures(ground: Ground) -> int:
    counted = select(func.coalesce(func.sum(ENROLMENT_FAILURES.c.failures), 0))
    return run_read(ground.engine, lambda session: int(session.scalar(counted) or 0))
