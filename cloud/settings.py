"""The cloud's settings: read once from the environment (``TILLBOX_…``) in the composition root, then passed on.

Every name has a default that suits one machine, so that the embedded cloud starts without any setting.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cloud.logs import LogFormat

_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9-]+(\.[a-z0-9-]+)*)(:[0-9]{1,5})?")


def _only_digits(value: object) -> object:
    # pydantic reads the text "50.00" as 50: whoever writes it means fifty euros and would get fifty cents.
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("an amount is a whole number of minor units, digits only")
    return value


MinorUnits = Annotated[int, BeforeValidator(_only_digits), Field(ge=0)]
"""An amount in minor units."""


class TopUpProvider(StrEnum):
    """Who takes customers' money."""

    NONE = "none"
    SANDBOX = "sandbox"


class SmsGatewayName(StrEnum):
    """Who sends text messages."""

    NONE = "none"
    SANDBOX = "sandbox"


class CloudSettings(BaseSettings):
    """One process's settings; amounts in minor units, durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="TILLBOX_", frozen=True, hide_input_in_errors=True)

    data_folder: Path = Path("build/cloud")
    """Where the embedded database and the role keys live."""
    database_url: str | None = None
    """``mysql://user:password@host/name`` (MariaDB, MySQL); empty: embedded SQLite in the data folder."""
    redis_url: str | None = None
    """``redis://host:port/0``, or ``redis+cluster://host:port,host:port``; empty: all questions to it are misses."""

    mqtt_host: str = "127.0.0.1"
    mqtt_port: int = Field(default=8883, ge=1, le=65535)
    mqtt_ca_file: Path | None = None
    """The fleet CA that signed the broker's certificate; empty: the one in the data folder."""
    mqtt_certificate_file: Path | None = None
    mqtt_key_file: Path | None = None

    worker_name: str = Field(default="cloud-worker", pattern=r"^cloud-[a-z0-9-]{1,26}$")
    """The name on this worker's link certificate; each worker has its own."""
    worker_group: str = Field(default="ingest", pattern=r"^[a-z0-9-]{1,32}$")
    """The shared subscription whose workers divide the terminals' messages among them."""
    worker_processes: int = Field(default=2, ge=0, le=64)
    """Processes in which a worker checks and posts; 0: its own, as always with the embedded database."""
    broker_host: str | None = None
    """Where boxes find the broker; empty: ``mqtt_host``."""
    broker_port: int | None = Field(default=None, ge=1, le=65535)

    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8800, ge=0, le=65535)
    request_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """After which a request that has no answer yet is answered that it took too long."""
    operator_token: SecretStr | None = None
    """Lets operators in over HTTP; without one nobody gets in."""
    metrics_token: SecretStr | None = None
    """Lets monitoring fetch ``/metrics``; without one nobody does."""
    log_format: LogFormat = LogFormat.TEXT
    """``text`` for people, ``json`` for machines: one object a line."""
    error_webhook_url: SecretStr | None = None
    """Where each logged error is posted, without its text; the address itself is a secret."""
    passkey_domain: str = Field(default="localhost", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)
    """The domain that passkeys are made for; another one makes every passkey worthless."""
    passkey_origins: str = "http://localhost:8800"
    """The origins of the pages that may ask for passkeys, separated by commas; each lies in that domain."""
    mail_smtp_url: SecretStr | None = None
    """``smtps://user:password@host:465`` or ``smtp://…:587`` (STARTTLS); empty: letters are written to a folder."""
    mail_from: str = Field(default="Tillbox <no-reply@localhost>", pattern=r"^[^\r\n]*@[^\r\n]*$")
    """Whom letters come from."""
    mail_pages_url: str = Field(default="http://localhost:8800", pattern=r"^https?://[^\s#?]+$")
    """Where the pages are that the letters' links lead to."""
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    """The currency of the policy that boxes are sent."""

    top_up_provider: TopUpProvider = TopUpProvider.NONE
    """Who takes customers' money for top-ups; the sandbox charges nobody and credits all the same."""
    top_up_webhook_secret_file: Path | None = None
    """A file with the secret (``whsec_…``) under which the provider signs what it tells us."""

    sms_gateway: SmsGatewayName = SmsGatewayName.NONE
    """Who sends text messages where a push did not arrive; the sandbox sends none and writes a line to the log."""

    push_contact: str = Field(default="mailto:operator@localhost", pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$")
    """Whom a push service may ask about what this cloud pushes."""
    push_allow_private: bool = False
    """Lets push go to private addresses and without TLS: for trials only."""

    payment_offline_limit_minor: MinorUnits = 50_00
    """Ceiling of a one-way code (the seed's ``PAYMENT_OFFLINE_LIMIT``, 50.00)."""
    payment_daily_limit_minor: MinorUnits = 10_000_00
    """A new wallet's daily limit (the seed's ``PAYMENT_DAILY_LIMIT``, 10 000.00)."""
    payment_session_ttl_s: int = Field(default=300, ge=1)
    """Life of a payment session (the seed's ``PAYMENT_SESSION_TTL``)."""
    payment_confirmation_ttl_s: int = Field(default=120, ge=1)
    """How long a customer may take to confirm a payment (the seed's ``PAYMENT_CONFIRMATION_TTL``)."""
    payment_no_pin_limit_minor: MinorUnits = 50_00
    """Up to this an online payment is confirmed by one tap, above it by PIN or password (protocol §5)."""

    @field_validator("error_webhook_url")
    @classmethod
    def _is_a_web_address(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("begins with https:// or http://")
        return url

    @field_validator("mail_smtp_url")
    @classmethod
    def _is_a_mail_server(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("smtps://", "smtp://")):
            raise ValueError("begins with smtps:// or smtp://")
        return url

    @model_validator(mode="after")
    def _passkeys_can_work(self) -> Self:
        if not self.passkey_origin_list or not all(map(self._is_own_origin, self.passkey_origin_list)):
            raise ValueError(
                "PASSKEY_ORIGINS are addresses like https://pay.example.org, without a path, each in PASSKEY_DOMAIN;"
                " only localhost does without https"
            )
        return self

    def _is_own_origin(self, origin: str) -> bool:
        found = _ORIGIN.fullmatch(origin)
        is_own = found is not None and f".{found['host']}".endswith(f".{self.passkey_domain}")
        return found is not None and is_own and (found["scheme"] == "https" or found["host"] == "localhost")

    @property
    def passkey_origin_list(self) -> tuple[str, ...]:
        """The origins one by one."""
        return tuple(each.strip() for each in self.passkey_origins.split(",") if each.strip())

    @field_validator("redis_url")
    @classmethod
    def _is_a_redis_address(cls, url: str | None) -> str | None:
        if url is not None:
            # Half a second to import, and most commands ask no Redis.
            from cloud.redis_client import make_connector

            try:
                make_connector(url, timeout_s=1.0)
            except ValueError:
                # Its own words may repeat a piece of the password.
                raise ValueError("is redis://host:port/0, or redis+cluster://host:port,host:port") from None
        return url

    @property
    def redis_server_url(self) -> str | None:
        """The Redis for what needs one server, the queue of deliveries and the live channel; None with a cluster."""
        return None if self.redis_url is None or "+cluster://" in self.redis_url else self.redis_url

    @property
    def key_folder(self) -> Path:
        """Where the role keys lie, made by ``tillbox keys init``."""
        return self.data_folder / "keys"

    @property
    def pepper_file(self) -> Path:
        """Where the peppers of passwords and PINs lie, made by ``tillbox cloud migrate`` or ``make-pepper``."""
        return self.data_folder / "peppers"

    @property
    def push_key_file(self) -> Path:
        """Where the key lies under which notices are pushed, made by ``tillbox cloud make-push-key``."""
        return self.data_folder / "push.pem"

    @property
    def column_key_file(self) -> Path:
        """Where the keys of sensitive columns lie, made by ``tillbox cloud migrate`` or ``make-column-key``."""
        return self.data_folder / "column-keys"

    @property
    def mail_folder(self) -> Path:
        """Where letters are written to without a mail server."""
        return self.data_folder / "mails"

    @property
    def effective_database_url(self) -> str:
        """The URL to connect to: the given one, else the embedded database's."""
        return self.database_url or f"sqlite:///{self.data_folder / 'cloud.sqlite3'}"


def shown(settings: CloudSettings) -> dict[str, str]:
    """Return what every setting is, by its name in the environment; of secrets only that they are there."""
    return {f"TILLBOX_{name.upper()}": _shown(value) for name, value in settings}


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, SecretStr):
        return "(set)"
    # Whatever stands between the user's name and the last @, and behind a question mark, may be a password.
    address = re.sub(r"^([\w+.-]+://[^:/@]*):.*@", r"\1:(set)@", str(value), flags=re.DOTALL)
    return re.sub(r"\?.*", "?(set)", address, flags=re.DOTALL) if "://" in address else address
