"""A till on this machine: asks the local API of the running box, for the commands that need it at work."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from edge.errors import BoxRefusedError, NotRunningError
from edge.settings import TerminalSettings

TIMEOUT_S = 5.0
POLL_S = 0.25
RUNNING = ("scanning", "authorising", "asking", "customer_asked")


class Till:
    """Asks one box; raises ``NotRunningError`` where none answers, ``BoxRefusedError`` where it says no."""

    def __init__(self, settings: TerminalSettings) -> None:
        self._address = f"{settings.api_host}:{settings.api_port}"

    def state(self) -> dict[str, Any]:
        """Return everything the display shows."""
        return self._ask("/v1/state")

    def start_sale(self, amount_minor: int, *, show_request: bool) -> dict[str, Any]:
        """Begin a sale; with ``show_request`` the answer has the payment request's text."""
        return self._ask("/v1/sales", {"amount_minor": amount_minor, "show_request": show_request})

    def cancel(self, payment_id: str) -> None:
        """Take a sale back."""
        self._ask(f"/v1/sales/{payment_id}/cancel", {})

    def until_ended(self, payment_id: str, *, on_state: Callable[[str], None]) -> dict[str, Any]:
        """Ask about a sale until it has ended; ``on_state`` hears of each new state on the way."""
        before = ""
        while True:
            sale = self._ask(f"/v1/sales/{payment_id}")
            if sale["state"] not in RUNNING:
                return sale
            if sale["state"] != before:
                before = sale["state"]
                on_state(before)
            time.sleep(POLL_S)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        # The scheme and the address are the box's own.
        request = urllib.request.Request(f"http://{self._address}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                view: dict[str, Any] = json.load(answer)
                return view
        except urllib.error.HTTPError as error:
            with error:
                raise BoxRefusedError(json.load(error)["error"]["message"]) from error
        except OSError as error:
            raise NotRunningError(f"No box answers at {self._address}.") from error
