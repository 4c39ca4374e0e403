"""Pages of long lists: newest first, each page naming where the next one begins.

A page begins behind an item and not at a number, so that what is added meanwhile neither shifts nor repeats anything.
"""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel

Item = TypeVar("Item")

ITEMS_MAX = 100
ITEMS_DEFAULT = 20
CURSOR_PATTERN = r"^[0-9]{1,15}-[0-9A-Z]{1,32}$"

CursorText = Annotated[
    str | None, Query(alias="cursor", pattern=CURSOR_PATTERN, description="next_cursor of the page before.")
]
ItemsMax = Annotated[int, Query(alias="limit", ge=1, le=ITEMS_MAX, description="Items on this page at most.")]


class Page(BaseModel, Generic[Item]):
    """Some items of a list; ``next_cursor`` is null on the last page."""

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last item of the page before: its time in Unix milliseconds, and its id where several have that time."""

    at_ms: int
    item_id: str

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.item_id}"


def read_cursor(text: str | None) -> Cursor | None:
    """Read what ``CURSOR_PATTERN`` has let through."""
    if text is None:
        return None
    at_ms, _, item_id = text.partition("-")
    return Cursor(int(at_ms), item_id)
