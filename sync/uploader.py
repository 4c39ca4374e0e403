"""The box's end of the sync engine without I/O: a state machine that sends the chain until the cloud has all of it.

It asks where the cloud stands (hello), sends from there in a window of batches, and believes only acknowledgements
that carry one of its own outstanding nonces. Whatever goes wrong ends in asking again after a bounded back-off, so
that no sequence of losses, duplicates, restarts or restored backups can stop it for good.

Every step sends at most one message; so the shell hands in one fresh nonce and one jitter with each event.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from sync.acknowledgement import NONCE_SIZE, Acknowledgement, ChainState
from sync.upload import (
    AcknowledgementReceived,
    AppendLost,
    Effect,
    Event,
    IgnoredReason,
    LinkDown,
    LinkUp,
    LoadRecords,
    LostAppended,
    OutboxRecord,
    Quarantine,
    RecordsAppended,
    RecordsLoaded,
    ReportContact,
    ReportIgnored,
    SendBatch,
    SendHello,
    SendNow,
    Tick,
    UploaderSettings,
    WakeAt,
)
from sync.upload_belief import Belief, Standing, believe, recognise
from sync.upload_state import (
    Greeting,
    Load,
    LostWanted,
    Offline,
    OwnChain,
    Pace,
    Sending,
    Sent,
    State,
    after_lost_link,
    behind_lost,
    grown,
    grown_by,
    is_in,
    must_wait_for_hole,
    next_deadline,
    sped_up,
    unbroken,
    with_late,
    with_lost,
    with_lost_record,
    without,
)


@dataclass(frozen=True, slots=True)
class Chance:
    """The randomness of one step: a nonce of 16 bytes that was never used before, and 0 ≤ ``jitter`` < 1."""

    nonce: bytes
    jitter: float

    def __post_init__(self) -> None:
        if len(self.nonce) != NONCE_SIZE:
            raise ValueError(f"a nonce has {NONCE_SIZE} bytes")


def start(chain: OwnChain, settings: UploaderSettings) -> Offline:
    """Return the state in which a box starts, from what its outbox holds."""
    return Offline(chain, Pace(batch_records=settings.batch_records_max))


def step(
    state: State, event: Event, *, now_ms: int, chance: Chance, settings: UploaderSettings
) -> tuple[State, tuple[Effect, ...]]:
    """Take one event at monotonic ``now_ms`` and return the next state with the effects to carry out, in order."""
    turn = _Turn(now_ms, chance, settings)
    after: State
    match state:
        case Offline():
            after = turn.offline(state, event)
        case Greeting():
            after = turn.greeting(state, event)
        case Sending():
            after = turn.sending(state, event)
        case _:
            assert_never(state)
    turn.ask_to_wake(after)
    return after, tuple(turn.effects)


class _Turn:
    """One step: what it may use, and the effects it has gathered."""

    def __init__(self, now_ms: int, chance: Chance, settings: UploaderSettings) -> None:
        self.now_ms = now_ms
        self.chance = chance
        self.settings = settings
        self.effects: list[Effect] = []
        self._has_sent = False

    # --- What happens in each state ---

    def offline(self, state: Offline, event: Event) -> State:
        match event:
            case LinkUp():
                return self._greet(state.chain, state.pace, at_ms=self.now_ms)
            case RecordsAppended() | LostAppended():
                return replace(state, chain=grown_by(state.chain, event))
            case AcknowledgementReceived():
                return self._ignore(state, IgnoredReason.UNKNOWN_NONCE)
            case RecordsLoaded():
                return self._ignore(state, IgnoredReason.STALE_RECORDS)
            case LinkDown() | Tick() | SendNow():
                return state
            case _:
                assert_never(event)

    def greeting(self, state: Greeting, event: Event) -> State:
        match event:
            case LinkUp():
                return self._greet(state.chain, replace(state.pace, late=()), at_ms=self.now_ms)
            case LinkDown():
                return Offline(state.chain, replace(state.pace, late=()))
            case RecordsAppended() | LostAppended():
                return replace(state, chain=grown_by(state.chain, event))
            case AcknowledgementReceived():
                return self._hear_in_greeting(state, event)
            case RecordsLoaded():
                return self._ignore(state, IgnoredReason.STALE_RECORDS)
            case Tick():
                return self._hello_if_due(state)
            case SendNow():
                return self._hello_if_due(replace(state, hello_at_ms=self.now_ms))
            case _:
                assert_never(event)

    def sending(self, state: Sending, event: Event) -> State:
        match event:
            case LinkUp():
                return self._greet(state.chain, after_lost_link(state), at_ms=self.now_ms)
            case LinkDown():
                return Offline(state.chain, after_lost_link(state))
            case RecordsAppended():
                return self._fill(replace(state, chain=grown_by(state.chain, event)))
            case LostAppended():
                return self._fill(with_lost_record(state, event))
            case AcknowledgementReceived():
                return self._hear_in_sending(state, event)
            case RecordsLoaded():
                return self._send_loaded(state, event)
            case Tick():
                return self._tick(state)
            case SendNow():
                return self._fill(replace(state, hold_until_ms=self.now_ms))
            case _:
                assert_never(event)

    def ask_to_wake(self, state: State) -> None:
        """End the step with the time at which it must go on by itself."""
        match state:
            case Offline():
                return
            case Greeting():
                at_ms = state.hello_at_ms
            case Sending():
                at_ms = next_deadline(state, settings=self.settings, now_ms=self.now_ms)
            case _:
                assert_never(state)
        self.effects.append(WakeAt(max(at_ms, self.now_ms)))

    # --- Greeting ---

    def _greet(self, chain: OwnChain, pace: Pace, *, at_ms: int) -> Greeting:
        return self._hello_if_due(Greeting(chain, pace, hello_at_ms=at_ms))

    def _greet_after_setback(self, chain: OwnChain, pace: Pace, *, wait_ms: int = 0) -> Greeting:
        pace = replace(pace, failures=pace.failures + 1)
        return self._greet(chain, pace, at_ms=self.now_ms + wait_ms + self._delay_ms(pace.failures))

    def _hello_if_due(self, state: Greeting) -> Greeting:
        if self.now_ms < state.hello_at_ms:
            return state
        chain = state.chain
        failures = state.pace.failures + (1 if state.hellos else 0)
        sent = Sent(self._nonce(), self.now_ms, told=chain.chain_state)
        self.effects.append(
            SendHello(
                nonce=sent.nonce,
                head_number=chain.head_number,
                head_hash=chain.head_hash,
                acknowledged_number=chain.acknowledged_number,
                acknowledged_hash=chain.acknowledged_hash,
                chain_state=chain.chain_state,
            )
        )
        wait_ms = self.settings.hello_timeout_ms + self._delay_ms(failures)
        pace = replace(with_late(state.pace, (sent,)), failures=failures)
        return Greeting(chain, pace, hello_at_ms=self.now_ms + wait_ms, hellos=state.hellos + 1)

    def _hear_in_greeting(self, state: Greeting, event: AcknowledgementReceived) -> State:
        sent = self._recognise(state.chain, state.pace.late, event.acknowledgement)
        if sent is None:
            return state
        belief = self._believe(state.chain, event, sent)
        chain = belief.chain
        pace = replace(state.pace, late=without(state.pace.late, sent))
        if sent.last > 0:
            # A late answer to a batch is contact and may move the acknowledged number; where to go on, the hello says.
            return replace(state, chain=chain, pace=pace)
        match belief.standing:
            case Standing.UNKNOWN_EPOCH:
                return self._greet_after_setback(chain, pace, wait_ms=self.settings.hello_timeout_ms)
            case Standing.DIVERGED if sent.told is ChainState.SOUND:
                # Once the cloud knows that we are not sound, it names a record of ours to go on from.
                return self._greet(chain, pace, at_ms=self.now_ms)
            case Standing.DIVERGED:
                # The cloud holds nothing that we know, so it is sent everything.
                return self._begin_sending(chain, pace, confirmed_number=0)
            case Standing.HELD:
                return self._begin_sending(chain, pace, confirmed_number=belief.number)
            case _:
                assert_never(belief.standing)

    # --- Sending ---

    def _begin_sending(self, chain: OwnChain, pace: Pace, *, confirmed_number: int) -> State:
        if chain.head_number <= confirmed_number:
            pace = replace(pace, failures=0)
        state = Sending(
            chain,
            pace,
            confirmed_number=confirmed_number,
            next_number=confirmed_number + 1,
            window=1 if pace.failures else self.settings.window_batches_max,
            contact_at_ms=self.now_ms,
        )
        return self._fill(state)

    def _fill(self, state: Sending) -> State:
        """Ask the outbox for the next records while there is room, or ask the cloud again when nothing is left."""
        if state.loading is not None or state.lost_wanted is not None:
            return state
        if len(state.in_flight) >= state.window or self.now_ms < state.hold_until_ms:
            return state
        if state.lost_record is not None:
            return self._load(state, state.lost_record, count_max=1, is_lost_record=True)
        state = replace(state, next_number=behind_lost(state.next_number, state.lost))
        if state.next_number <= state.chain.head_number and not must_wait_for_hole(state):
            return self._load(state, state.next_number, count_max=state.pace.batch_records, is_lost_record=False)
        if state.in_flight:
            return state
        if min(state.confirmed_number, state.chain.acknowledged_number) < state.chain.head_number:
            # Everything was sent and answered, and yet not everything is acknowledged.
            return self._greet_after_setback(state.chain, state.pace, wait_ms=self.settings.hello_timeout_ms)
        if self.now_ms >= state.contact_at_ms + self.settings.contact_every_ms:
            return self._greet(state.chain, state.pace, at_ms=self.now_ms)
        return state

    def _load(self, state: Sending, from_number: int, *, count_max: int, is_lost_record: bool) -> Sending:
        self.effects.append(LoadRecords(from_number, count_max, self.settings.batch_size_max))
        until_ms = self.now_ms + self.settings.answer_timeout_ms
        return replace(state, loading=Load(from_number, state.chain.head_number, is_lost_record, until_ms))

    def _send_loaded(self, state: Sending, event: RecordsLoaded) -> State:
        load = state.loading
        records = unbroken(event.records)
        if load is None or event.from_number != load.from_number or (records and records[0].number < load.from_number):
            return self._ignore(state, IgnoredReason.STALE_RECORDS)
        state = replace(state, loading=None)
        first_there = records[0].number if records else load.head_number + 1
        if load.is_lost_record:
            state = replace(state, lost_record=None)
            return self._fill(self._send(state, records[:1]) if first_there == load.from_number else state)
        if first_there > load.from_number:
            state = replace(state, has_hole=True)
            if must_wait_for_hole(state):
                return self._fill(state)
            return self._want_lost(replace(state, next_number=first_there), load.from_number, first_there - 1)
        state = self._send(state, records)
        return self._fill(replace(state, next_number=records[-1].number + 1))

    def _send(self, state: Sending, records: Sequence[OutboxRecord]) -> Sending:
        last = records[-1]
        chain = grown(state.chain, last.number, last.hash)
        sent = Sent(self._nonce(), self.now_ms, records[0].number, last.number, told=chain.chain_state)
        self.effects.append(SendBatch(sent.nonce, tuple(records)))
        return replace(state, chain=chain, in_flight=(*state.in_flight, sent))

    def _want_lost(self, state: Sending, first: int, last: int) -> Sending:
        self.effects.append(AppendLost(first, last))
        wanted = LostWanted(first, last, self.now_ms + self.settings.answer_timeout_ms)
        return replace(state, has_hole=False, lost_wanted=wanted)

    def _tick(self, state: Sending) -> State:
        overdue_ms = self.now_ms - self.settings.answer_timeout_ms
        if any(sent.sent_at_ms <= overdue_ms for sent in state.in_flight):
            pace = replace(state.pace, batch_records=max(1, state.pace.batch_records // 2))
            return self._greet_after_setback(state.chain, with_late(pace, state.in_flight))
        wanted = state.lost_wanted
        if wanted is not None and self.now_ms >= wanted.until_ms:
            state = replace(with_lost(state, wanted.first, wanted.last), lost_wanted=None)
        if state.loading is not None and self.now_ms >= state.loading.until_ms:
            state = replace(state, loading=None)
        return self._fill(state)

    def _hear_in_sending(self, state: Sending, event: AcknowledgementReceived) -> State:
        sent = self._recognise(state.chain, (*state.in_flight, *state.pace.late), event.acknowledgement)
        if sent is None:
            return state
        belief = self._believe(state.chain, event, sent)
        is_late = sent not in state.in_flight
        state = replace(
            state,
            chain=belief.chain,
            pace=replace(state.pace, late=without(state.pace.late, sent)),
            in_flight=without(state.in_flight, sent),
            contact_at_ms=self.now_ms,
        )
        pace = with_late(state.pace, state.in_flight)
        match belief.standing:
            case Standing.UNKNOWN_EPOCH:
                return self._greet_after_setback(state.chain, pace, wait_ms=self.settings.hello_timeout_ms)
            case Standing.DIVERGED if sent.told is ChainState.SOUND:
                return self._greet(state.chain, pace, at_ms=self.now_ms)
            case Standing.DIVERGED:
                # The cloud could not place the batch on a branch of ours yet: it is kept, and more may help.
                return self._fill(state)
            case Standing.HELD:
                return self._go_on_behind(state, sent, belief.number, is_late=is_late)
            case _:
                assert_never(belief.standing)

    def _go_on_behind(self, state: Sending, sent: Sent, number: int, *, is_late: bool) -> State:
        """Go on after the cloud said that it holds our records to ``number``, in answer to ``sent``."""
        confirmed_before = state.confirmed_number
        confirmed = max(confirmed_before, number)
        state = replace(
            state,
            confirmed_number=confirmed,
            next_number=max(state.next_number, confirmed + 1),
            in_flight=tuple(other for other in state.in_flight if other.last > number),
        )
        if number >= sent.last:
            return self._fill(state if is_late else sped_up(state, settings=self.settings))
        missing = confirmed + 1
        is_coming = any(other.first <= missing <= other.last for other in state.in_flight)
        if is_late or is_coming or state.next_number <= missing or is_in(missing, state.lost):
            return self._fill(state)
        if number < confirmed_before:
            # Either this answer was overtaken by a newer one, or the cloud fell back to a backup: only it knows.
            return self._greet_after_setback(state.chain, with_late(state.pace, state.in_flight))
        return self._fill(self._go_back(state, missing, was_sent=sent.first <= missing))

    def _go_back(self, state: Sending, missing: int, *, was_sent: bool) -> Sending:
        state = replace(state, has_hole=False, window=1)
        if not was_sent:
            return replace(state, next_number=missing)
        # The very batch that held this record was answered, and it was not taken: the cloud refuses it.
        times = state.pace.refused_times + 1 if state.pace.refused_number == missing else 1
        state = replace(state, pace=replace(state.pace, refused_number=missing, refused_times=times))
        if times > self.settings.refusals_max and state.chain.quarantine is None:
            state = replace(state, next_number=missing + 1, pace=replace(state.pace, refused_times=0))
            return self._want_lost(state, missing, missing)
        return replace(state, next_number=missing, hold_until_ms=self.now_ms + self._delay_ms(times))

    # --- Believing ---

    def _recognise(self, chain: OwnChain, outstanding: Sequence[Sent], ack: Acknowledgement) -> Sent | None:
        sent = recognise(chain, outstanding, ack)
        if isinstance(sent, IgnoredReason):
            self.effects.append(ReportIgnored(sent))
            return None
        return sent

    def _believe(self, chain: OwnChain, event: AcknowledgementReceived, sent: Sent) -> Belief:
        belief = believe(chain, event, sent_last=sent.last)
        contact = ReportContact(event.acknowledgement.cloud_time_ms, sent.sent_at_ms)
        # A power cut between the two must not leave a box that may sell on and does not know why it must not.
        stops = [effect for effect in belief.effects if isinstance(effect, Quarantine)]
        self.effects += [*stops, contact, *(effect for effect in belief.effects if effect not in stops)]
        return belief

    def _ignore(self, state: State, reason: IgnoredReason) -> State:
        self.effects.append(ReportIgnored(reason))
        return state

    def _nonce(self) -> bytes:
        if self._has_sent:
            raise RuntimeError("a step sends at most one message, because it has one nonce")
        self._has_sent = True
        return self.chance.nonce

    def _delay_ms(self, failures: int) -> int:
        return self.settings.backoff.delay_ms(failures, jitter=self.chance.jitter)
