"""What every test may ask for: the fixtures of real servers, and one profile for property tests."""

from hypothesis import settings

from tests.servers.fixtures import (
    either_database_url,
    galera,
    make_mariadb,
    make_mosquitto,
    make_redis,
    mariadb,
    mariadb_template,
    mariadb_url,
    migrated_databases,
    migrated_mariadb_url,
    redis_nodes,
    redis_server,
    redis_url,
    server_logs,
)

__all__ = [
    "either_database_url",
    "galera",
    "make_mariadb",
    "make_mosquitto",
    "make_redis",
    "mariadb",
    "mariadb_template",
    "mariadb_url",
    "migrated_databases",
    "migrated_mariadb_url",
    "redis_nodes",
    "redis_server",
    "redis_url",
    "server_logs",
]

# A shared, noisy machine says nothing about our speed, so a slow example is no failure; a failing one prints its seed.
settings.register_profile("tillbox", deadline=None, print_blob=True)
settings.load_profile("tillbox")
