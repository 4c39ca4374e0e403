"""Renders Mosquitto's configuration and access list from the table of topics; pure text, written by whoever runs it.

The broker is the outer gate: it lets in only who holds a certificate of the fleet CA and binds each terminal to its
own topics, so that a stolen terminal key opens that terminal's topics and no others. Nothing here is trusted for
money, which is signed above it. What the options are for stands beside each one in the text, so that whoever opens
the file on the broker finds the reasons there.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sync.topics import ROOT, TOPICS, Direction, subscription

PACKET_SIZE_MAX = 262_144
"""Bytes; the largest message is a trust snapshot of 200 072, a batch of records has 127 564."""
SAVED_EVERY_S = 30
"""How often the broker writes what it holds."""

_WORKER_SHAPE = re.compile(r"cloud-[a-z0-9-]{1,48}")


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """Absolute paths on the broker's machine.

    ``ca`` is the fleet CA that signs clients, ``certificate`` and ``key`` are the broker's own, ``access_list`` holds
    what ``render_access_list`` gives, ``data`` is a folder the broker may write, ``revoked`` a revocation list.
    """

    ca: str
    certificate: str
    key: str
    access_list: str
    data: str
    revoked: str | None = None


def render_configuration(files: BrokerFiles, *, bind: str, port: int, run_as: str | None = None) -> str:
    """Return ``mosquitto.conf``: one TLS 1.3 listener that demands a client certificate.

    ``run_as`` names the user to become when started by root (Mosquitto's default is ``mosquitto``). Raises
    ``ValueError`` for a value that would break out of its line.
    """
    lines = [
        "# The one way in: TLS 1.3, and only with a certificate that the fleet CA signed.",
        f"listener {port} {_one_word(bind)}",
        f"cafile {_one_line(files.ca)}",
        f"certfile {_one_line(files.certificate)}",
        f"keyfile {_one_line(files.key)}",
        *([f"crlfile {_one_line(files.revoked)}"] if files.revoked is not None else []),
        "tls_version tlsv1.3",
        "require_certificate true",
        "allow_anonymous false",
        "",
        "# The certificate's common name is the user name, which the access list binds to topics.",
        "use_identity_as_username true",
        f"acl_file {_one_line(files.access_list)}",
        "",
        "# What is retained outlives a crash but for the last seconds; a terminal that greets gets it again. Records",
        "# need not: terminals resend them until the cloud has answered. To save at each change would write the whole",
        "# queue once for each message of a fleet that comes back.",
        "persistence true",
        f"persistence_location {_one_line(files.data).rstrip('/')}/",
        f"autosave_interval {SAVED_EVERY_S}",
        "autosave_on_changes false",
        "# Nobody of ours leaves a session behind; somebody else's is not kept for ever.",
        "persistent_client_expiration 7d",
        "",
        "# Everything is bounded: the outbox is the store, the broker only a pipe.",
        f"max_packet_size {PACKET_SIZE_MAX}",
        "max_inflight_messages 20",
        "max_queued_messages 10000",
        "max_queued_bytes 67108864",
        "",
        *([f"user {_one_word(run_as)}"] if run_as is not None else []),
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_timestamp_format %Y-%m-%dT%H:%M:%SZ",
    ]
    return "\n".join(lines) + "\n"


def render_access_list(worker_names: Sequence[str]) -> str:
    """Return the access list: each terminal its own topics, the named cloud workers everybody's.

    ``worker_names`` are the common names of the workers' certificates, ``cloud-…``, else ``ValueError``: no
    terminal's name (16 hex digits) can look like one. What is not listed is denied.
    """
    return "\n".join([*_terminal_lines(), *_worker_lines(worker_names)]) + "\n"


def _terminal_lines() -> Iterable[str]:
    yield "# A terminal publishes and reads under its own name only; %u is its certificate's common name."
    for row in TOPICS:
        yield f"pattern {'write' if row.direction is Direction.UP else 'read'} {ROOT}/%u/{row.name}"


def _worker_lines(worker_names: Sequence[str]) -> Iterable[str]:
    for name in sorted(set(worker_names)):
        if _WORKER_SHAPE.fullmatch(name) is None:
            raise ValueError(f"a cloud worker's certificate is named cloud-…, not {name!r}")
        yield ""
        yield f"user {name}"
        for row in TOPICS:
            yield f"topic {'read' if row.direction is Direction.UP else 'write'} {subscription(row)}"


def _one_line(value: str) -> str:
    if not value or value != value.strip() or not value.isprintable():
        raise ValueError(f"not one printable line: {value!r}")
    return value


def _one_word(value: str) -> str:
    if " " in value:
        raise ValueError(f"not one word: {value!r}")
    return _one_line(value)
