"""Ways to send a letter: SMTP over TLS, or a folder in which a person or a test reads it.

The standard library's client in a thread: mails are few, and another package would do the same with more code.
"""

import asyncio
import secrets
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from cloud.errors import CloudError
from cloud.identity.mails import Letter

TIMEOUT_S = 20


class MailError(CloudError):
    """A letter was not taken; it is tried again."""

    code = "mail_not_sent"


class Mailer(Protocol):
    """Sends letters."""

    async def send(self, letter: Letter) -> None:
        """Send one; raises ``MailError``."""


@dataclass(frozen=True, slots=True)
class FolderMailer:
    """The sandbox: writes each letter into a file, and nobody gets it."""

    folder: Path
    sender: str

    async def send(self, letter: Letter) -> None:
        """Write one; raises ``MailError``."""
        content = bytes(_message(letter, self.sender))
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self.folder / f"{secrets.token_hex(8)}.eml").write_bytes(content)
        except OSError as error:
            raise MailError(f"nothing can be written to {self.folder}") from error


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """A mail server: ``smtps://user:password@host:465``, or ``smtp://…:587``, which must offer STARTTLS."""

    url: str = field(repr=False)
    sender: str
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)

    async def send(self, letter: Letter) -> None:
        """Send one; raises ``MailError``."""
        try:
            await asyncio.to_thread(self._send, letter)
        except (smtplib.SMTPException, OSError) as error:
            raise MailError(f"the mail server has not taken it: {type(error).__name__}") from error

    def _send(self, letter: Letter) -> None:
        url = urlsplit(self.url)
        with self._connect(url.scheme, url.hostname or "", url.port) as server:
            if url.username is not None:
                server.login(unquote(url.username), unquote(url.password or ""))
            # The envelope names the one mailbox, however its address could be read in a header.
            server.send_message(_message(letter, self.sender), to_addrs=[letter.to])

    def _connect(self, scheme: str, host: str, port: int | None) -> smtplib.SMTP:
        if scheme == "smtps":
            return smtplib.SMTP_SSL(host, port or 465, timeout=TIMEOUT_S, context=self.tls)
        server = smtplib.SMTP(host, port or 587, timeout=TIMEOUT_S)
        try:
            server.starttls(context=self.tls)
        except (smtplib.SMTPException, OSError):
            server.close()
            raise
        return server


def _message(letter: Letter, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, letter.to, letter.subject
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message
