"""Real servers for tests, started by the tests on free loopback ports: MariaDB, Redis, Mosquitto."""
