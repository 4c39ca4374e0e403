"""How often somebody may ask: at most so many requests in any window, not only in each minute of the clock.

Counted in Redis, so that all processes count the same ones, in one script, so that requests at once see each other.
These limits spare the machine and slow a guesser down; no secret and no money rests on them (attempts at secrets are
counted in the database). So where Redis is away, everybody passes, and the cache says once that it went.
"""

import secrets
from dataclasses import dataclass

from cloud.cache import Cache
from cloud.redis_client import RedisClient
from cloud.redis_keys import (
    LOG_IN_VISITS,
    PAYMENT_ATTEMPTS,
    PERSON_REQUESTS,
    REGISTRATION_VISITS,
    SECRET_ATTEMPTS,
    RedisKey,
)
from sync.clock import Clock
from sync.ids import RandomBytes


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most so many requests in any window, which is as long as the key lives."""

    key: RedisKey
    requests_max: int


PAYMENTS = RateLimit(PAYMENT_ATTEMPTS, 10)
"""Payment attempts of a customer (the seed's figure)."""
LOG_INS = RateLimit(LOG_IN_VISITS, 30)
REGISTRATIONS = RateLimit(REGISTRATION_VISITS, 10)
SECRETS = RateLimit(SECRET_ATTEMPTS, 10)
PERSON = RateLimit(PERSON_REQUESTS, 300)

LIMITS = (PAYMENTS, LOG_INS, REGISTRATIONS, SECRETS, PERSON)

# One sorted set for each subject: a member for each request that passed, scored with its time. A request that is
# refused is not kept, so whoever goes on asking gets through as soon as there is room. A clock that was turned back
# leaves members of the future, for which nobody waits longer than one window.
_COUNT = """
local now, window, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local count = redis.call('ZCARD', KEYS[1])
if count >= most then
    local next_place = redis.call('ZRANGE', KEYS[1], count - most, count - most, 'WITHSCORES')
    return math.max(1, math.min(window, tonumber(next_place[2]) + window - now))
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], window)
return 0
"""


class RateLimiter:
    """Counts requests in the cache's Redis; safe between threads."""

    def __init__(self, cache: Cache, clock: Clock, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._cache = cache
        self._clock = clock
        self._random_bytes = random_bytes

    def wait_ms(self, limit: RateLimit, of: str) -> int:
        """Count a request; answers 0 where it may go on, else after how long the next one may."""
        window_ms, now_ms = limit.key.ttl_s * 1000, self._clock.now_ms()
        member = self._random_bytes(8).hex()

        def count(connection: RedisClient) -> int:
            answer = connection.eval(_COUNT, 1, limit.key.name(of), now_ms, window_ms, limit.requests_max, member)
            return answer if isinstance(answer, int) else 0

        return self._cache.ask(count) or 0
