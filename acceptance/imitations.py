"""Checks and questions that imitations of AWS cannot serve, and why. On AWS, all of them are asked."""

import re

_NO_EMF = "metrics are lines of the function's log, which nobody here turns into metrics"
_NO_ALARMS = "alarms never ring here"
_NO_DOCKER = "a function of one's own would need Docker here"

NOT_SERVED: dict[str, dict[str, str]] = {
    "embedded": {
        "test_metrics.py": _NO_EMF,
        "test_alarms.py": _NO_ALARMS,
        "test_loops.py": _NO_DOCKER,
    },
    "ministack": {},
}
"""For each imitation the names of files, or of checks in them, and the reason."""


def not_served(imitation: str, check: str) -> str:
    """Returns why an imitation does not serve a check, such as `test_ways.py::test_it_arrives[queue]`."""
    for name, reason in NOT_SERVED.get(imitation, {}).items():
        if re.fullmatch(rf"{re.escape(name)}(\W.*)?", check):
            return reason
    return ""
