"""How fast the services are asked: well below their rates, which all of an account's callers share."""

import time
from threading import Lock
from typing import Any

RATES = {
    # ECS refills its buckets for calls that read by 20 a second, and more for some (its guide, Request throttling).
    "ecs": 10,
    # 100 a second; all other calls of Lambda's control plane together have 15 (its guide, Quotas).
    "lambda.GetFunction": 40,
    "lambda.ListFunctions": 5,
    # Inspector publishes no rate; a page has 200 images.
    "inspector2.ListCoverage": 2,
}
"""Calls a second, of a service or of one of its operations: half of what is documented, or less."""


class Pace:
    """At most so many calls a second, over all threads, without bursts."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._next = 0.0
        self._lock = Lock()

    def wait(self, **_: object) -> None:
        """Waits for the next call's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        if turn > now:
            time.sleep(turn - now)


def limit_rate(client: Any) -> None:
    """Has a client keep to the rates of its service, with its retries too."""
    service = client.meta.service_model.service_id.hyphenize()
    for name, per_second in RATES.items():
        if name.partition(".")[0] == service:
            client.meta.events.register(f"before-send.{name}", Pace(per_second).wait)
