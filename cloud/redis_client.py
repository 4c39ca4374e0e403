"""Connects to Redis as its address says: one server, or a cluster whose nodes divide the keys among them.

A cluster is a scheme of its own, because its client is another one: it asks any node it was told of which node holds
which keys, sends each command to the right one, and learns who took over where one died. A script or pipeline may
then touch only keys of one node, so keys that one command touches together MUST share a hash tag (``{…}``).

redis-py's own ten retries are off: they would hold a request for seconds, and run a command that is not idempotent up
to eleven times.
"""

from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import parse_url
from redis.exceptions import RedisClusterException
from redis.retry import Retry

RedisClient = redis.Redis | redis.RedisCluster
FAILURES = (redis.RedisError, RedisClusterException)
"""What a command raises where Redis is away, refuses or has no node for the key."""

_CLUSTER = "+cluster"
_PORT = 6379


def make_connector(url: str, *, timeout_s: float) -> Callable[[], RedisClient]:
    """Read the address, and return what connects to it, waiting at most ``timeout_s`` for each answer.

    ``redis://``, ``rediss://`` (TLS) or ``unix://`` is one server; ``redis+cluster://user:password@host:port,host:port``
    or ``rediss+cluster://`` a cluster, of which one living node named here is enough. Connecting to a cluster asks it,
    and raises one of ``FAILURES`` where no node answers. Raises ``ValueError`` for an address that is none.
    """
    scheme, _, rest = url.partition("://")
    waits = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, "protocol": 2}
    if not scheme.endswith(_CLUSTER):
        parse_url(url)  # type: ignore[no-untyped-call] # redis-py has no types here
        return lambda: redis.Redis.from_url(url, retry=_no_retry(), **waits)
    places, options = _read_cluster(scheme.removesuffix(_CLUSTER), rest)
    # While a dead node's successor is not chosen yet, the keys of the others are still there to be asked for.
    options |= waits | {"require_full_coverage": False}

    def connect() -> RedisClient:
        nodes = [ClusterNode(*each) for each in places]  # type: ignore[no-untyped-call] # nor here
        return redis.RedisCluster(startup_nodes=nodes, retry=_no_retry(), **options)

    return connect


def _read_cluster(scheme: str, rest: str) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Return the nodes' addresses and what is the same for all of them."""
    head, mark, query = rest.partition("?")
    credentials, at, hosts = head.rstrip("/").rpartition("@")
    urls = [f"{scheme}://{credentials}{at}{host}{mark}{query}" for host in hosts.split(",")]
    found = [dict(parse_url(each)) for each in urls]  # type: ignore[no-untyped-call]
    if scheme not in ("redis", "rediss") or any("host" not in each or each.pop("db", 0) for each in found):
        raise ValueError("a cluster's address is redis+cluster://host:port[,host:port…] or rediss+cluster://…")
    places = [(str(each.pop("host")), int(each.pop("port", _PORT))) for each in found]
    options = found[0]
    if options.pop("connection_class", None) is not None:
        options["ssl"] = True
    return places, options


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)
