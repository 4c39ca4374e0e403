"""Settings come from the environment and the command line, and a wrong one is named."""

from pathlib import Path

import pytest

from edge.errors import SettingsInvalidError
from edge.settings import TerminalSettings, load_settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TerminalSettings.model_fields:
        monkeypatch.delenv(f"TILLBOX_TERMINAL_{name.upper()}", raising=False)


def test_without_anything_given_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.api_host == "127.0.0.1"
    assert settings.data_folder == Path("/var/lib/tillbox")
    assert settings.has_rtc is None


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLBOX_TERMINAL_API_PORT", "9000")
    monkeypatch.setenv("TILLBOX_TERMINAL_HAS_RTC", "false")
    settings = load_settings()
    assert (settings.api_port, settings.has_rtc) == (9000, False)


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLBOX_TERMINAL_API_PORT", "9000")
    assert load_settings(api_port=9001).api_port == 9001


def test_an_option_not_given_leaves_the_environment_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILLBOX_TERMINAL_API_PORT", "9000")
    assert load_settings(api_port=None).api_port == 9000


def test_every_file_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings(data_folder=tmp_path)
    files = (
        settings.outbox_file,
        settings.key_folder,
        settings.trust_folder,
        settings.link_certificate_file,
        settings.link_ca_file,
    )
    assert all(file.is_relative_to(tmp_path) for file in files)
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    "name, value",
    [
        ("api_port", "65536"),
        ("api_port", "-1"),
        ("api_port", "eighty"),
        ("broker_port", "0"),
        ("free_bytes_min", "-1"),
        ("has_rtc", "perhaps"),
    ],
)
def test_a_wrong_setting_is_named_wherever_it_came_from(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(SettingsInvalidError, match=f"{name}: ") as from_option:
        load_settings(**{name: value})
    monkeypatch.setenv(f"TILLBOX_TERMINAL_{name.upper()}", value)
    with pytest.raises(SettingsInvalidError, match=f"{name}: ") as from_environment:
        load_settings()
    assert str(from_option.value) == str(from_environment.value)
    assert "Correct the named setting" in str(from_option.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(SettingsInvalidError, match=r"api_port: .*broker_port: "):
        load_settings(api_port=-1, broker_port=0)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in TerminalSettings.model_fields.values())


def test_an_option_that_is_no_setting_is_a_bug_and_not_swallowed() -> None:
    with pytest.raises(SettingsInvalidError, match="api_prt"):
        load_settings(api_prt=9001)
