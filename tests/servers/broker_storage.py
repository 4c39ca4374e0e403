"""What Mosquitto has on its disk, which it writes now and then by itself."""

import os
import signal
import time

from demo.servers import Mosquitto

PATIENCE_S = 30.0


def save_broker(broker: Mosquitto, payload: bytes) -> None:
    """Have Mosquitto write everything now (SIGUSR1, mosquitto(8)), and wait until ``payload`` is in it."""
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGUSR1)
    storage, give_up_at = broker.folder / "mosquitto.db", time.monotonic() + PATIENCE_S
    while not storage.exists() or payload not in storage.read_bytes():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the broker did not save what it holds")
        time.sleep(0.01)
