"""Addresses of one Redis and of a cluster are told apart, and a wrong one is refused before anything starts."""

import pytest
import redis

from cloud.redis_client import make_connector
from cloud.settings import CloudSettings


@pytest.mark.parametrize("url", ["redis://host:6379/0", "rediss://user:hush@host", "unix:///run/redis.sock"])
def test_an_address_of_one_server_is_a_client_that_asks_nobody_yet(url: str) -> None:
    client = make_connector(url, timeout_s=1.0)()
    assert isinstance(client, redis.Redis)
    client.close()


@pytest.mark.parametrize(
    "url",
    [
        "host:6379",
        "http://host",
        "cluster://host",
        "redis://host:port",
        "redis+cluster://",
        "redis+cluster://host:1,",
        "redis+cluster://host:1,host:port",
        "unix+cluster:///run/redis.sock",
        "http+cluster://host",
        "redis+cluster://host:1/1",
    ],
)
def test_an_address_that_is_none_stops_the_start(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make_connector(url, timeout_s=1.0)
    with pytest.raises(ValueError, match="redis_url"):
        CloudSettings(redis_url=url)
