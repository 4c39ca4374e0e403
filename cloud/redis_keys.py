"""Every kind of key that may stand in Redis: its name, how long it lives at most, and what it is for.

Named as in the seed's Redis structure where that has a name. Nothing else may be written, and nothing without an end
but the queue of jobs: a test looks at what real traffic leaves behind. No key holds the truth, so all of them may
vanish at any time.

In a Redis Cluster each key may lie on another node, and a script or transaction reaches one node only. Keys that one
of those touches together MUST share a hash tag, which is a name in braces (``{jobs}:…``), or with the id in them
(``{{}}``). The rate limits' script touches one key.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RedisKey:
    """One kind of key: ``pattern`` with the place of the id, time to live, and what stands there.

    With 0 it stands as long as it holds something: Redis drops a queue that is empty.
    """

    pattern: str
    ttl_s: int
    meaning: str

    def name(self, of: str) -> str:
        """Return the key's name for one id."""
        return self.pattern.replace("{}", of)

    def is_name(self, name: str) -> bool:
        """Tell whether a name is of this kind."""
        head, _, tail = self.pattern.partition("{}")
        return len(name) > len(head) + len(tail) and name.startswith(head) and name.endswith(tail)


PAYMENT_SESSION = RedisKey("payment:session:{}", 300, "a payment session's state by its id, for the owner's polling")
MERCHANT = RedisKey("payment:merchant:cache:{}", 3600, "a merchant's name and status by its id, for screens")
MERCHANT_OF_TERMINAL = RedisKey("payment:merchant:cache:terminal:{}", 3600, "the merchant's name by a terminal's id")
DAILY_STATS = RedisKey("payment:stats:daily:{}", 7 * 24 * 3600, "the figures of a day that is over, by its date")

PAYMENT_ATTEMPTS = RedisKey("payment:rate_limit:{}", 60, "a customer's payment attempts of the last minute, by login")
LOG_IN_VISITS = RedisKey("limit:log_in:{}", 60, "log-ins from an address in the last minute")
REGISTRATION_VISITS = RedisKey("limit:register:{}", 60, "registrations from an address in the last minute")
SECRET_ATTEMPTS = RedisKey("limit:secret:{}", 60, "requests with a password or PIN in the last minute, by login")
PERSON_REQUESTS = RedisKey("limit:person:{}", 60, "all requests of the last minute, by login")

JOBS_NAMESPACE = "jobs"
JOBS_QUEUE = "deliveries"
JOBS = RedisKey(f"{JOBS_NAMESPACE}:{{}}", 0, "the queue of deliveries, as dramatiq keeps it")

LIVE_CHANNEL = "live:told"
"""Where it is published who was told something, so that every process looks for it; a channel is no key."""

KEYS = (
    PAYMENT_SESSION,
    MERCHANT,
    MERCHANT_OF_TERMINAL,
    DAILY_STATS,
    PAYMENT_ATTEMPTS,
    LOG_IN_VISITS,
    REGISTRATION_VISITS,
    SECRET_ATTEMPTS,
    PERSON_REQUESTS,
    JOBS,
)
"""The key table. The overview uses the merchant of a terminal; the other copies come into use with their screens."""


def find_key(name: str) -> RedisKey | None:
    """Return the kind that a name is of: of several, the one that says most; None where the table knows none."""
    found = [key for key in KEYS if key.is_name(name)]
    return max(found, key=lambda key: len(key.pattern), default=None)
