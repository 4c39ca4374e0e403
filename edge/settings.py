"""Settings of one terminal, from the environment (``TILLBOX_TERMINAL_…``) or the command line."""

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from edge.errors import SettingsInvalidError


class TerminalSettings(BaseSettings):
    """Everything a terminal process is told; the keys, certificates and limits lie in its data folder instead."""

    model_config = SettingsConfigDict(env_prefix="TILLBOX_TERMINAL_", extra="forbid", frozen=True)

    data_folder: Path = Field(default=Path("/var/lib/tillbox"), description="where keys, trust and outbox lie")
    root_key_file: Path = Field(
        default=Path("/etc/tillbox/root.pub"), description="the pinned root's public key, hexadecimal"
    )
    camera: str = Field(
        default="v4l2:/dev/video0",
        description="camera source: picamera2, v4l2:DEVICE, picture:PATH, video:FILE or counter:FILE",
    )
    api_host: str = Field(default="127.0.0.1", description="address of the local API")
    api_port: int = Field(default=8700, ge=0, le=65535, description="port of the local API; 0 takes a free one")
    has_rtc: bool | None = Field(
        default=None, description="whether a real-time clock with battery is fitted; by default the system is asked"
    )
    free_bytes_min: int = Field(
        default=64 * 1024 * 1024, ge=0, description="below this much free space nothing is approved"
    )
    broker_host: str | None = Field(default=None, description="overrides the broker that enrolment named")
    broker_port: int | None = Field(default=None, ge=1, le=65535, description="overrides the broker's port")

    @property
    def outbox_file(self) -> Path:
        return self.data_folder / "outbox.sqlite3"

    @property
    def key_folder(self) -> Path:
        return self.data_folder / "keys"

    @property
    def link_certificate_file(self) -> Path:
        return self.trust_folder / "link.pem"

    @property
    def link_ca_file(self) -> Path:
        return self.trust_folder / "link_ca.pem"

    @property
    def trust_folder(self) -> Path:
        return self.data_folder / "trust"


def load_settings(**overrides: object) -> TerminalSettings:
    """Read the settings; an override of ``None`` counts as not given. Raises ``SettingsInvalidError`` naming each."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return TerminalSettings.model_validate({**TerminalSettings().model_dump(), **given})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SettingsInvalidError(f"The settings are not valid: {faults}.") from error
