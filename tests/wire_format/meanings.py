"""What each field of each signed payload means, for the tables of the page; a test wants a line for every field."""

from sync.envelope import SignedType
from tests.fakes.signed_examples import ALL_KINDS

SIGNED_BY: dict[SignedType, str] = {
    SignedType.ROLE_KEY: "the root",
    SignedType.TRUST_SNAPSHOT: "role key of use trust",
    SignedType.TRUST_DELTA: "role key of use trust",
    SignedType.POLICY: "role key of use policy",
    SignedType.TERMINAL_CERTIFICATE: "role key of use fleet_ca",
    SignedType.ENROLMENT_REQUEST: "the terminal's new key",
    SignedType.ENROLMENT_ANSWER: "role key of use fleet_ca",
    SignedType.GRANT: "role key of use grant",
    SignedType.PAYMENT_CODE: "the phone's device key of that grant",
    SignedType.GRANT_RETURN: "the phone's device key of that grant",
    SignedType.DEVICE_REQUEST: "the phone's binding key",
    SignedType.PAYMENT_REQUEST: "the terminal",
    SignedType.APPROVAL: "role key of use approval",
    SignedType.RECEIPT: "the terminal",
    SignedType.RECORD: "the terminal",
    SignedType.HELLO: "the terminal",
    SignedType.ACKNOWLEDGEMENT: "role key of use acknowledgement",
    SignedType.ONLINE_REQUEST: "the terminal",
    SignedType.ONLINE_ANSWER: "role key of use approval",
    SignedType.COMMAND: "role key of use policy",
}

_OF_ANY = {
    "key_id": "id of the key that signs this payload",
    "terminal_id": "the terminal",
    "payment_id": "UUID version 7, made by the terminal",
    "epoch": "epoch of the terminal's chain; a new one begins with each enrolment",
    "currency": "ISO 4217 alphabetic code, three capital ASCII letters",
    "serial": "the grant's serial, which is the payer's pseudonym",
    "issued_ms": "when it was signed",
    "expires_ms": "first moment at which it does not hold any more",
}

_OF_TYPE: dict[SignedType, dict[str, str]] = {
    SignedType.ROLE_KEY: {
        "use": "what the key may sign",
        "version": "of two statements about one key, the higher version MUST count",
        "public_key": "the role key",
        "not_before_ms": "first moment of its life",
        "not_after_ms": "first moment after its life",
    },
    SignedType.TRUST_SNAPSHOT: {
        "version": "MUST NOT be below the one held",
        "role_keys": "encoded messages of type role_key, each at most 160 bytes, under the root",
        "denied": "serials of denied payers, each once, ascending as bytes",
    },
    SignedType.TRUST_DELTA: {
        "version": "the version it makes; MUST be above base_version and MUST NOT be below the one held",
        "base_version": "the version it is made for; MUST be the one held",
        "denied": "serials newly denied, ascending as bytes",
        "no_longer_denied": "serials no longer denied, ascending as bytes; taken away after denied was added",
    },
    SignedType.POLICY: {
        "version": "MUST NOT be below the one held",
        "one_way_limit_minor": "ceiling of one payment by one-way code",
        "two_way_limit_minor": "ceiling of one payment by two-way code",
        "payer_sum_minor": "ceiling of a payer's sum at one terminal since contact",
        "payer_one_way_sum_minor": "ceiling of the one-way part of that sum",
        "unacknowledged_soft_minor": "amount not acknowledged from which the terminal warns",
        "unacknowledged_hard_minor": "amount not acknowledged above which it approves nothing",
        "unacknowledged_soft_count": "number of records not acknowledged from which it warns",
        "unacknowledged_hard_count": "number of records not acknowledged at which it approves nothing",
        "full_limits_offline_s": "seconds without contact with full ceilings",
        "step_down_every_s": "seconds after which ceilings step down again",
        "offline_s_max": "seconds without contact after which it approves nothing",
        "code_age_s_max": "how old a one-way code may be, seconds",
        "code_ahead_s_max": "how far a code or grant may lie ahead of the terminal's clock, seconds",
        "floor_clock_limit_minor": "ceiling of one payment while the clock is only a lower bound",
        "floor_clock_sales_max": "number of sales while the clock is only a lower bound",
        "online_selection_permille": "share of sales sent to the cloud by lot, thousandths",
    },
    SignedType.TERMINAL_CERTIFICATE: {
        "merchant_id": "whose terminal it is",
        "site_id": "the shop it stands in",
        "name": "what a customer reads",
        "public_key": "the terminal's signing key",
        "not_before_s": "first second of its life, Unix seconds",
        "not_after_s": "first second after its life, Unix seconds",
    },
    SignedType.ENROLMENT_REQUEST: {
        "code": "the enrolment code that a person typed",
        "hardware_serial": "serial number of the board",
        "public_key": "the terminal's new signing key; key_id MUST be its id",
        "link_request": "PKCS#10 request (RFC 2986, DER) for the key of the TLS link",
        "nonce": "random",
    },
    SignedType.ENROLMENT_ANSWER: {
        "request_hash": "SHA-256 of the payload of the enrolment request",
        "certificate": "encoded message of type terminal_certificate",
        "link_certificate": "X.509 certificate of the link key, DER",
        "link_ca": "X.509 certificate of the fleet CA, DER",
        "epoch": "epoch that begins now",
        "previous_hash": "what record 1 of this epoch names as previous",
        "snapshot": "encoded message of type trust_snapshot",
        "policy": "encoded message of type policy",
        "broker_host": "where to connect",
        "broker_port": "where to connect",
    },
    SignedType.GRANT: {
        "device_key": "the phone's public key, fresh for each grant; empty in a session code",
        "issued_s": "Unix seconds",
        "lifetime_s": "the grant ends at issued_s + lifetime_s, that second excluded",
        "limit_minor": "ceiling of one payment",
        "total_minor": "ceiling of all payments together",
    },
    SignedType.GRANT_RETURN: {
        "last_counter": "highest counter ever shown",
        "shown": "codes shown and not known to be posted, counters strictly ascending, none above last_counter",
        "returned_at_s": "Unix seconds",
    },
    SignedType.PAYMENT_REQUEST: {
        "amount_minor": "what the customer is asked for",
        "nonce": "random, fresh for each request",
        "expires_s": "first Unix second at which it does not hold any more",
    },
    SignedType.APPROVAL: {
        "request_hash": "first 16 bytes of SHA-256 of the payment request's payload",
        "amount_minor": "what may be paid",
        "expires_s": "first Unix second at which it does not hold any more",
    },
    SignedType.RECEIPT: {
        "number": "number of the record in the terminal's chain",
        "record_hash": "SHA-256 of the record's payload",
        "serial": "the grant's serial; 8 zero bytes where the sale was paid by an approval, without payment code",
        "counter": "counter of the payment code; 0 where there is none",
        "amount_minor": "what was paid",
        "time_ms": "the terminal's time of the sale",
    },
    SignedType.RECORD: {
        "number": "from 1, without gaps within an epoch",
        "previous_hash": "see the chain rule",
        "kind": "what the record says",
        "payment_id": "UUID version 7, made by the terminal; 16 zero bytes where no payment is meant",
        "amount_minor": "of the sale; 0 in other kinds",
        "code": "raw bytes of the payment code; empty where there is none",
        "request": "raw bytes of the payment request's code; empty where there is none",
        "approval": "encoded message of type approval where there is no code; of type online_answer where the cloud "
        "said yes to the code; else empty",
        "policy_version": "policy that was decided under",
        "snapshot_version": "trust snapshot that was decided under",
        "sums_before": "the payer's sum at this terminal since contact, its one-way part, and amount and number of "
        "records not acknowledged, all before this record",
        "reason_bits": "circumstances of the decision, see decision.md",
        "clock_confidence": "how far the terminal's clock can be believed",
        "authorised_at_ms": "the terminal's time",
        "detail": "lost: first and last number lost, 1 ≤ first ≤ last < 2^32; clock_set: old and new time, Unix "
        "milliseconds; MUST be empty in a sale or void",
    },
    SignedType.HELLO: {
        "nonce": "random, fresh for each greeting",
        "head_number": "newest record, 0 before the first",
        "head_hash": "its hash; before the first what record 1 names as previous",
        "acknowledged_number": "newest record acknowledged, 0 before the first",
        "acknowledged_hash": "its hash; before the first what record 1 names as previous",
        "chain_state": "what the terminal says of its own chain",
        "sent_at_ms": "the terminal's time",
    },
    SignedType.ACKNOWLEDGEMENT: {
        "number": "all records up to this one are committed",
        "head_hash": "the hash of that record; with number 0 what record 1 names as previous, or 32 zero bytes "
        "where the epoch is unknown",
        "nonce": "from the greeting or batch that is answered; the terminal MUST have made it and still wait for it",
        "status": "what the cloud found",
        "cloud_time_ms": "the cloud's time",
    },
    SignedType.ONLINE_REQUEST: {
        "code": "raw bytes of the payment code, in any mode; MUST NOT be empty",
        "request": "raw bytes of the payment request's code that a two-way code answers; else empty",
        "amount_minor": "of the sale",
        "asked_at_ms": "the terminal's time",
    },
    SignedType.ONLINE_ANSWER: {
        "outcome": "the cloud's word; approved and declined are final, customer_asked is followed by one of them",
        "reason": "none where it was not declined, else a name of the list below or of a refusal (§10); a reader MUST "
        "take names that it does not know",
        "amount_minor": "what was asked for",
    },
    SignedType.COMMAND: {
        "number": "ascending for each terminal; a number not above the last MUST NOT be carried out",
        "name": "what to do",
        "argument": "belongs to the command",
    },
}


def meaning_of(signed_type: SignedType, field: str) -> str:
    """Return what a field means; raises ``KeyError`` where nobody has said so."""
    of_type = _OF_TYPE[signed_type]
    return of_type[field] if field in of_type else _OF_ANY[field]


def left_over() -> set[tuple[SignedType, str]]:
    """Return what is explained here and is no field any more."""
    fields = {(kind, field.name) for kind, message in ALL_KINDS.items() for field in message.layout.fields}
    return {(kind, name) for kind, names in _OF_TYPE.items() for name in names} - fields
