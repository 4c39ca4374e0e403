"""The cloud's settings come from the environment under one prefix, and start without any."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from cloud.settings import CloudSettings, shown

SECRET_SETTINGS = {
    "DATABASE_URL": "mysql://tillbox:hush/@:hush@host/name?password=hush",
    "REDIS_URL": "redis://:hush@host:6379/0",
    "OPERATOR_TOKEN": "hush",
    "METRICS_TOKEN": "hush",
    "ERROR_WEBHOOK_URL": "https://chat.example/hush",
    "MAIL_SMTP_URL": "smtps://user:hush@mail.example",
}


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


def test_every_setting_is_shown_and_no_secret_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRET_SETTINGS.items():
        monkeypatch.setenv(f"TILLBOX_{name}", value)
    said = shown(CloudSettings())
    assert set(said) == {f"TILLBOX_{name.upper()}" for name in CloudSettings.model_fields}
    assert (said["TILLBOX_HTTP_PORT"], said["TILLBOX_BROKER_HOST"], said["TILLBOX_LOG_FORMAT"]) == ("8800", "–", "text")
    assert said["TILLBOX_DATABASE_URL"] == "mysql://tillbox:(set)@host/name?(set)"
    assert said["TILLBOX_REDIS_URL"] == "redis://:(set)@host:6379/0"
    assert said["TILLBOX_OPERATOR_TOKEN"] == said["TILLBOX_ERROR_WEBHOOK_URL"] == "(set)"
    assert not [line for line in said.values() if "hush" in line]


@pytest.mark.parametrize(
    "domain, origins, is_taken",
    [
        ("localhost", "http://localhost:8800", True),
        ("example.org", "https://pay.example.org, https://example.org:8443", True),
        ("example.org", "http://pay.example.org", False),
        ("example.org", "https://example.org.evil.example", False),
        ("example.org", "https://evilexample.org", False),
        ("pay.example.org", "https://example.org", False),
        ("example.org", "https://example.org/", False),
        ("example.org", "https://user@example.org", False),
        ("example.org", "", False),
        ("Example.org", "https://example.org", False),
    ],
)
def test_passkeys_are_asked_for_by_pages_of_their_own_domain_only(
    monkeypatch: pytest.MonkeyPatch, domain: str, origins: str, is_taken: bool
) -> None:
    monkeypatch.setenv("TILLBOX_PASSKEY_DOMAIN", domain)
    monkeypatch.setenv("TILLBOX_PASSKEY_ORIGINS", origins)
    if is_taken:
        assert CloudSettings().passkey_origin_list == tuple(each.strip() for each in origins.split(","))
        return
    with pytest.raises(ValidationError):
        CloudSettings()


@pytest.mark.parametrize(
    "name, value",
    [
        ("ERROR_WEBHOOK_URL", "hush"),
        ("LOG_FORMAT", "hush"),
        ("REQUEST_TIMEOUT_S", "hush"),
        ("MAIL_SMTP_URL", "hush"),
        ("REDIS_URL", "redis://:hush/@host:6379/0"),
        ("REDIS_URL", "redis+cluster://user:hush/@host:1,host:2"),
    ],
)
def test_a_setting_that_is_refused_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TILLBOX_{name}", value)
    with pytest.raises(ValidationError) as refused:
        CloudSettings()
    assert name.lower() in str(refused.value)
    assert "hush" not in str(refused.value)
