"""What a browser's push subscription must look like before anything is sent there. Pure.

The address comes from a browser, so from anybody: it is a request that our host makes for a stranger. So it is https,
without a name or password in it, on the port of https, to a name and not to a number; and when a message is sent, every
address that the name stands for must be a public one.
"""

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

PUBLIC_KEY_SIZE = 65
AUTH_SECRET_SIZE = 16
HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """Where one browser takes what is pushed to a recipient, and under which key and secret (RFC 8291 §2)."""

    recipient: str
    endpoint: str
    public_key: bytes
    auth_secret: bytes
    created_at_ms: int

    @property
    def endpoint_hash(self) -> bytes:
        """Return what tells subscriptions apart."""
        return hashlib.sha256(self.endpoint.encode()).digest()

    @property
    def subscription_id(self) -> str:
        """Return its name to its owner: half of the hash in hexadecimal."""
        return self.endpoint_hash[:16].hex()


def is_endpoint(url: str, *, allow_private: bool) -> bool:
    """Tell whether something may be sent to this address; ``allow_private`` lets trials push to this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not is_plain or not parts.hostname or "@" in parts.netloc or parts.fragment:
        return False
    if allow_private:
        return parts.scheme in ("http", "https")
    return parts.scheme == "https" and port in (None, HTTPS_PORT) and _is_name(parts)


def are_public(addresses: Collection[str]) -> bool:
    """Tell whether all of these addresses are on the public network, and there is one at all."""
    return bool(addresses) and all(_is_public(each) for each in addresses)


def read_key(text: str, *, size: int) -> bytes | None:
    """Read base64url with or without padding; None where it is no key of this size."""
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == size else None


def _is_name(parts: SplitResult) -> bool:
    host = (parts.hostname or "").rstrip(".")
    # The last label of a name is never a number, while "127.1" and "0x7f.1" are addresses to a resolver.
    return "." in host and not host.rpartition(".")[2][:1].isdigit() and ":" not in host


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return False
    return address.is_global and not address.is_multicast
