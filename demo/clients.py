"""How the demo talks to cloud and box: as an operator, as a phone, and as a till, over their real HTTP."""

import time
from typing import Any

import httpx

from demo.phone import Phone
from sync.device_request import DeviceRequest, sign_device_request

TIMEOUT_S = 15.0


class AnswerError(Exception):
    """The cloud or the box said no where the demo expected a yes; ``code`` is the answer's, empty if it had none."""

    def __init__(self, words: str, *, code: str = "") -> None:
        super().__init__(words)
        self.code = code


class CloudClient:
    """An operator with the operator token."""

    def __init__(self, base_url: str, operator_token: str) -> None:
        self._http = httpx.Client(
            base_url=base_url, timeout=TIMEOUT_S, headers={"Authorization": f"Bearer {operator_token}"}
        )

    def close(self) -> None:
        self._http.close()

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return _content(self._http.post(path, json=body or {}))

    def reconciliation(self) -> dict[str, Any]:
        return _content(self._http.get("/v1/operator/reconciliation"))

    def evidence(self, terminal_id: str, payment_id: str) -> bytes:
        """Fetch the evidence pack of one payment."""
        answer = self._http.get(f"/v1/operator/evidence/{terminal_id}/{payment_id}")
        if not answer.is_success:
            raise _error(answer)
        return answer.content


class PhoneLink:
    """A phone's connection to the cloud; each request is signed by its binding key."""

    def __init__(self, base_url: str, phone: Phone, device_id: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=TIMEOUT_S)
        self._phone = phone
        self._device_id = device_id

    def close(self) -> None:
        self._http.close()

    def get_grant(self) -> None:
        """Make a fresh key, ask for a grant, and learn the reserve behind it."""
        key = self._phone.new_device_key()
        body = f'{{"device_key":"{key.public_key.raw.hex()}"}}'.encode()
        answer = self._ask("POST", "/v1/device/grants", body)
        self._phone.take_grant(bytes.fromhex(answer["grant"]), key)
        self.sync()

    def sync(self) -> None:
        """Learn what is posted and what the reserve is."""
        answer = self._ask("GET", "/v1/device/reserve", b"")
        posted = {
            (bytes.fromhex(grant["serial"]), counter) for grant in answer["grants"] for counter in grant["posted"]
        }
        self._phone.learn(
            reserve_minor=answer["reserve_minor"],
            posted=posted,
            cloud_time_ms=answer["cloud_time_ms"],
            now_ms=time.time_ns() // 1_000_000,
        )

    def _ask(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        sent_at_ms = time.time_ns() // 1_000_000
        signature = sign_device_request(self._phone.binding_key, DeviceRequest(method, path, sent_at_ms, body))
        headers = {
            "X-Device-ID": self._device_id,
            "X-Device-Time": str(sent_at_ms),
            "X-Device-Signature": signature.hex(),
            "Content-Type": "application/json",
        }
        return _content(self._http.request(method, path, content=body, headers=headers))


class Till:
    """The cash register beside the box, on its local API."""

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=base_url, timeout=TIMEOUT_S)

    def close(self) -> None:
        self._http.close()

    def start_sale(self, amount_minor: int) -> str:
        payment_id: str = _content(self._http.post("/v1/sales", json={"amount_minor": amount_minor}))["payment_id"]
        return payment_id

    def sale(self, payment_id: str) -> dict[str, Any]:
        return _content(self._http.get(f"/v1/sales/{payment_id}"))

    def state(self) -> dict[str, Any]:
        return _content(self._http.get("/v1/state"))

    def history(self) -> dict[str, Any]:
        return _content(self._http.get("/v1/history"))

    def send_now(self) -> None:
        _content(self._http.post("/v1/send-now"))


def _content(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise _error(answer)
    content: dict[str, Any] = answer.json()
    return content


def _error(answer: httpx.Response) -> AnswerError:
    try:
        error = answer.json()["error"]
        words, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        words, code = f"status {answer.status_code}", ""
    return AnswerError(f"{answer.request.method} {answer.request.url.path}: {words}", code=code)
