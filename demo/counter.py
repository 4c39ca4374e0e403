"""A shop's counter: a box in a process of its own, what its camera sees, the till beside it, and its network.

The box is started by the very command a person would type, so that it can be killed like any other process.
"""

import asyncio
import secrets
import threading
from pathlib import Path
from typing import Any

from demo.clients import CloudClient, Till
from demo.commands import CommandProcess
from demo.processes import LOOPBACK, free_port
from demo.promises import PromiseBrokenError, wait_until
from demo.proxy import Proxy
from edge.main import enrol_box
from edge.settings import load_settings
from hardware.cameras.counter import put_on_screen

_UNDECIDED = ("scanning", "authorising", "asking", "customer_asked")


class Network:
    """The network between one box and the broker: a proxy on a thread of its own."""

    def __init__(self, *, port: int, target_port: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()
        self._proxy = self._call(_make_proxy(port=port, target_port=target_port))

    def cut(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.cut)

    def restore(self) -> None:
        self._loop.call_soon_threadsafe(self._proxy.pass_on)

    def close(self) -> None:
        self._call(self._proxy.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


class Counter:
    """One box of one shop; ``name`` names its folder and its log, ``shop`` is what customers read.

    Its network is laid on ``network_port``; a box whose enrolment names another port is told on its command line.
    """

    def __init__(self, name: str, *, shop: str, world_folder: Path, root_key_file: Path, is_told_port: bool) -> None:
        self.shop = shop
        self.network_port = free_port()
        self._data = world_folder / name
        self._root_key_file = root_key_file
        self._screen = world_folder / f"{name}_screen.txt"
        options = ["terminal", "--data", str(self._data), "--root-key", str(root_key_file)]
        run = ["run", "--camera", f"counter:{self._screen}", "--port", "{port}"]
        told = ["--broker-port", str(self.network_port)] if is_told_port else []
        arguments = [*options, *run, *told]
        self._process = CommandProcess(name, folder=world_folder / "logs", arguments=arguments, environment={})
        self._till: Till | None = None
        self.network: Network | None = None

    def enrol(self, *, cloud_url: str, code: str) -> str:
        """Enrol the box with a one-time code; answers the terminal's id."""
        settings = load_settings(data_folder=self._data, root_key_file=self._root_key_file)
        serial = f"demo-{secrets.token_hex(4)}"
        identity = asyncio.run(enrol_box(settings, cloud_url=cloud_url, code=code, hardware_serial=serial))
        return identity.terminal.terminal_id.hex()

    def connect(self, broker_port: int) -> None:
        """Lay the network between this box and the broker."""
        self.network = Network(port=self.network_port, target_port=broker_port)

    def start(self) -> None:
        """Start the box, for the first time or again."""
        self._process.start()
        self._close_till()
        self._till = Till(self.url)

    def kill(self) -> None:
        """Take its power away."""
        self._process.kill()

    def close(self) -> None:
        """Stop box and network; safe to call twice."""
        self._close_till()
        self._process.stop()
        network, self.network = self.network, None
        if network is not None:
            network.close()

    def cut_network(self) -> None:
        """Cut the network and wait until the box has noticed."""
        if self.network is not None:
            self.network.cut()
        wait_until(lambda: self.box()["link"] == "offline", f"the box of {self.shop} did not notice the cut")

    def restore_network(self) -> None:
        """Let everything through again, and have the box try at once."""
        if self.network is not None:
            self.network.restore()
        self.till.send_now()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._process.port}"

    @property
    def till(self) -> Till:
        if self._till is None:
            raise PromiseBrokenError(f"the box of {self.shop} does not run")
        return self._till

    def show(self, text: str) -> None:
        """Hold a phone that shows ``text`` above the counter; empty takes it away."""
        put_on_screen(self._screen, text)

    def sell(self, text: str, amount_minor: int) -> dict[str, Any]:
        """Type the amount, hold up the phone, wait for the result, take the phone away."""
        payment_id = self.till.start_sale(amount_minor)
        self.show(text)
        wait_until(lambda: self.till.sale(payment_id)["state"] not in _UNDECIDED, "a sale did not end")
        self.show("")
        return self.till.sale(payment_id)

    def box(self) -> dict[str, Any]:
        """What the box says of itself."""
        box: dict[str, Any] = self.till.state()["box"]
        return box

    def trust_version(self) -> int:
        """Which version of the deny list the box holds."""
        version: int = self.box()["trust_version"]
        return version

    def wait_for_news(self, *, held_version: int) -> None:
        """Wait until the box holds a newer deny list."""
        wait_until(lambda: self.trust_version() > held_version, f"no news of denials reached the box of {self.shop}")

    def wait_for_contact(self) -> None:
        """Wait until the box has reached the cloud and knows the time."""
        wait_until(lambda: self.box()["link"] == "online", f"the box of {self.shop} did not reach the cloud")
        wait_until(lambda: self.box()["clock"] == "synced", f"the box of {self.shop} had no contact with the cloud")

    def wait_until_sent(self, *, timeout_s: float) -> None:
        """Wait until the cloud has acknowledged every sale."""
        otherwise = f"the sales of {self.shop} were not acknowledged"
        wait_until(lambda: self.box()["queue"]["count"] == 0, otherwise, timeout_s=timeout_s)

    def _close_till(self) -> None:
        till, self._till = self._till, None
        if till is not None:
            till.close()


async def _make_proxy(*, port: int, target_port: int) -> Proxy:
    return await Proxy(port=port, target_port=target_port).start()


def register_shop(cloud: CloudClient, *, name: str, site: str, currency: str) -> str:
    """Register a merchant with one shop; answers a one-time code for a box there."""
    merchant = cloud.post("/v1/operator/merchants", {"name": name, "currency": currency})["merchant_id"]
    site_id = cloud.post(f"/v1/operator/merchants/{merchant}/sites", {"name": site})["site_id"]
    wanted = {"merchant_id": merchant, "site_id": site_id, "name": name}
    code: str = cloud.post("/v1/operator/enrolment-codes", wanted)["code"]
    return code
