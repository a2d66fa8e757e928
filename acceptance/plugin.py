"""How pytest runs the checks: one line for each, and none left out without its reason."""

import time
from typing import Any, TextIO

import pytest

from . import imitations
from .stack import lacking
from .world import World

MARKERS = (
    "needs(parameter, ...): parameters of the stack without which there is nothing to check",
    "slow: takes an hour or more",
    "opt_in(option): only where it was asked for",
)
_WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


class Plugin:
    """The pytest plugin of one run."""

    def __init__(self, world: World, output: TextIO) -> None:
        self.world = world
        self.outcomes: dict[str, str] = {}
        """What became of each check so far, by its name; of skipped ones, why."""
        self.failures: list[str] = []
        self._output = output

    def pytest_configure(self, config: pytest.Config) -> None:
        """Declares what marks checks."""
        for marker in MARKERS:
            config.addinivalue_line("markers", marker)

    @pytest.fixture(scope="session", name="world")
    def provide_world(self) -> World:
        """The run that the checks belong to."""
        return self.world

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skips what cannot be checked on this stack, or was not asked for, and says why."""
        for item in items:
            if reason := self._reason(item):
                item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Says what is being waited for, where that takes long."""
        if item.get_closest_marker("slow") and not self._reason(item):
            print(
                f"{time.strftime('%H:%M:%S')}  waiting           {_readable(item.nodeid)}",
                file=self._output,
                flush=True,
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Prints a line when a check has ended: after its call, or where that was not reached."""
        if report.when != "call" and report.outcome == "passed":
            return
        name = _readable(report.nodeid)
        self.outcomes[_short(report.nodeid)] = report.outcome
        note = ""
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            note = report.longrepr[2].removeprefix("Skipped: ")
            self.outcomes[_short(report.nodeid)] = f"skipped: {note}"
        if report.outcome == "failed":
            note = _last_line(report)
            self.failures.append(f"{name}\n{report.longreprtext}")
        clock = time.strftime("%H:%M:%S")
        print(f"{clock}  {_WORDS[report.outcome]:7} {report.duration:6.1f} s  {name}{note and f': {note}'}",
              file=self._output, flush=True)  # fmt: skip

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot even be collected is a failure, too."""
        if report.failed:
            self.outcomes[_short(report.nodeid)] = "failed"
            self.failures.append(f"{report.nodeid}\n{report.longreprtext}")

    def _reason(self, item: pytest.Item) -> str:
        """Returns why a check cannot be made; empty if it can be."""
        options, stack = self.world.options, self.world.stack
        if reason := imitations.not_served(options.imitation, _short(item.nodeid)):
            return reason
        needed = [parameter for marker in item.iter_markers("needs") for parameter in marker.args]
        missing = [lacking(parameter, stack.parameters, options.prefix) for parameter in needed]
        if any(missing):
            return f"deploy the stack with {' '.join(filter(None, missing))}"
        if item.get_closest_marker("slow") and not options.slow:
            return "with SLOW=1"
        marker: Any = item.get_closest_marker("opt_in")
        if marker and not getattr(options, marker.args[0]):
            return f"with {marker.args[1]}"
        return ""


def _readable(nodeid: str) -> str:
    """The name of a check in words."""
    return _short(nodeid).replace(".py::", ": ").replace("test_", "").replace("_", " ")


def _short(nodeid: str) -> str:
    """The name of a check, such as `test_ways.py::test_it_arrives[queue]`."""
    return nodeid.rpartition("/")[2]


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message).splitlines()[0] if crash else report.longreprtext.strip().splitlines()[-1]
