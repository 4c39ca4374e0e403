"""Who a merchant is, to customers and to us, and in which spelling it is stored; without I/O.

Names are shown beside an amount on the customer's phone, so what looks like nothing or turns the writing round is no
part of them.
"""

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from stdnum import iban
from stdnum.exceptions import ValidationError

NAME_LENGTH_MAX = 200
CATEGORY_LENGTH_MAX = 100
CITY_LENGTH_MAX = 100
POSTAL_CODE_LENGTH_MAX = 16
IBAN_LENGTH_MAX = 34
MICRODEGREES = 1_000_000
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")  # E.164
_IBAN_AS_WRITTEN = re.compile(r"[A-Za-z0-9 ]{5,50}")


class ProfileRefusal(StrEnum):
    """Why a profile cannot be stored; nothing was changed."""

    TEXT_INVALID = "text_invalid"
    PHONE_INVALID = "phone_invalid"
    EMAIL_INVALID = "email_invalid"
    IBAN_INVALID = "iban_invalid"
    LOCATION_INVALID = "location_invalid"


@dataclass(frozen=True, slots=True)
class Location:
    """A place on the map, in millionths of a degree (about 0.1 m), so that no float is stored."""

    latitude_udeg: int
    longitude_udeg: int


@dataclass(frozen=True, slots=True)
class Profile:
    """How to reach a merchant and where it is; ``country`` is ISO 3166-1 alpha-2."""

    contact_name: str = ""
    contact_email: str = ""
    contact_phone: str = ""
    street: str = ""
    postal_code: str = ""
    city: str = ""
    country: str = ""
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class SettlementAccount:
    """Where a merchant is paid to; the IBAN as ``spell_iban`` spells it."""

    holder: str
    iban: str


def spell_text(text: str, *, length_max: int = NAME_LENGTH_MAX) -> str | None:
    """Return one line of text as stored (NFC, without spaces around); None where it is empty, long or hides something.

    NFC makes some texts longer, so the length counts behind it.
    """
    spelled = unicodedata.normalize("NFC", text).strip()
    # C*: control, format and unassigned characters, half surrogates; Zl and Zp begin another line.
    is_hiding = any(unicodedata.category(each)[0] == "C" or unicodedata.category(each) in ("Zl", "Zp") for each in text)
    return None if is_hiding or not 0 < len(spelled) <= length_max else spelled


def spell_phone(text: str) -> str | None:
    """Return a phone number in E.164; None where it is none."""
    spelled = re.sub(r"[\s()./-]", "", text)
    return spelled if _PHONE.fullmatch(spelled) else None


def spell_iban(text: str) -> str | None:
    """Return an IBAN without spaces; None where country, length, form or check digits are wrong (ISO 13616)."""
    if not _IBAN_AS_WRITTEN.fullmatch(text):
        return None
    try:
        return str(iban.validate(text))
    except ValidationError:
        return None


def spell_account(account: SettlementAccount) -> SettlementAccount | ProfileRefusal:
    """Return a settlement account as it is stored."""
    holder, spelled = spell_text(account.holder), spell_iban(account.iban)
    if holder is None:
        return ProfileRefusal.TEXT_INVALID
    return ProfileRefusal.IBAN_INVALID if spelled is None else SettlementAccount(holder, spelled)


def account_hash(merchant_id: str, account: SettlementAccount) -> bytes:
    """Return what a passkey signs of a settlement account (as spelled): whose it is to be, holder and IBAN."""
    spelled = json.dumps(["settlement account", merchant_id, account.holder, account.iban], ensure_ascii=True)
    return hashlib.sha256(spelled.encode()).digest()


def mask_iban(text: str) -> str:
    """Return what is shown of an IBAN: country and check digits, and the last four."""
    return f"{text[:4]}…{text[-4:]}" if text else ""


def place(latitude: float, longitude: float) -> Location | ProfileRefusal:
    """Return a place from degrees, latitude −90 to 90 and longitude −180 to 180."""
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return ProfileRefusal.LOCATION_INVALID
    return Location(round(latitude * MICRODEGREES), round(longitude * MICRODEGREES))
