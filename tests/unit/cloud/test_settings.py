"""The cloud's settings come from the environment under one prefix, and start without any."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from cloud.settings import CloudSettings


def test_the_defaults_are_the_figures_of_the_seed_and_an_embedded_database() -> None:
    settings = CloudSettings()
    assert settings.effective_database_url == f"sqlite:///{Path('build/cloud/cloud.sqlite3')}"
    assert settings.redis_url is None
    assert settings.payment_offline_limit_minor == 50_00
    assert settings.payment_daily_limit_minor == 10_000_00
    assert settings.payment_session_ttl_s == 300


def test_the_environment_overrides_under_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLBOX_DATABASE_URL", "mysql://user@host/name")
    monkeypatch.setenv("TILLBOX_MQTT_PORT", "1883")
    settings = CloudSettings()
    assert settings.effective_database_url == "mysql://user@host/name"
    assert settings.mqtt_port == 1883


@pytest.mark.parametrize(
    "name, value", [("MQTT_PORT", "0"), ("PAYMENT_OFFLINE_LIMIT_MINOR", "50.00"), ("PAYMENT_SESSION_TTL_S", "-1")]
)
def test_a_setting_that_makes_no_sense_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TILLBOX_{name}", value)
    with pytest.raises(ValidationError):
        CloudSettings()
