"""A monotonic clock that a test turns by hand; sleeping turns it too."""


class HandClock:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept_s: list[float] = []

    def monotonic_s(self) -> float:
        return self.now_s

    def monotonic_ms(self) -> int:
        return int(self.now_s * 1000)

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
