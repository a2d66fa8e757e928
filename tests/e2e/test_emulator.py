"""The emulator runs what is deployed, and fails as Lambda does."""

import os
import sysconfig
import threading
import time
from pathlib import Path

import pytest

from local.aws import EmbeddedAWS
from local.rie import PACKAGE, RUNTIME, FunctionError, RuntimeEmulator

PROBE = """
import os, sys, time

def modules(event, context):
    import handler.app
    return sorted({module.__file__ for module in sys.modules.values() if getattr(module, "__file__", None)})

def processors(event, context):
    import handler.app
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as thread:
        return sorted(thread.submit(os.sched_getaffinity, 0).result())

def obey(event, context):
    if "raise" in event:
        raise ValueError(event["raise"])
    if "sleep" in event:
        time.sleep(event["sleep"])
    if "answer" in event:
        return "x" * event["answer"]
    return {"pid": os.getpid(), "requestId": context.aws_request_id, "left": context.get_remaining_time_in_millis()}
"""


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    """The built package with one module more."""
    for entry in PACKAGE.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "probe.py").write_text(PROBE)
    return tmp_path


def test_nothing_but_the_package_is_imported(aws: EmbeddedAWS, probe: Path) -> None:
    """The function finds all it needs in its package, Lambda's runtime and Python: no tool of this project."""
    with RuntimeEmulator(aws.environment, timeout=30, package=probe, handler="probe.modules") as function:
        files = [Path(name).resolve() for name in function.invoke({})]
    homes = [PACKAGE, RUNTIME, Path(sysconfig.get_path("stdlib")), probe / "probe.py"]
    assert [file for file in files if not any(file.is_relative_to(home.resolve()) for home in homes)] == []
    for module in ("boto3/__init__.py", "aws_lambda_powertools/__init__.py", "handler/app.py", "handler/contract.py"):
        assert PACKAGE / module in files


def test_threads_share_a_processor_where_there_is_the_time_of_one(aws: EmbeddedAWS, probe: Path) -> None:
    """With less memory than Lambda gives a whole processor for, the function's threads have one; with more, all."""
    found = {}
    for memory in (1024, 2048):
        with RuntimeEmulator(
            aws.environment, timeout=30, memory=memory, package=probe, handler="probe.processors"
        ) as function:
            found[memory] = function.invoke({})
    assert len(found[1024]) == 1
    assert set(found[2048]) == os.sched_getaffinity(0)


def test_failures_are_those_of_lambda(probe: Path) -> None:
    """An error, a time-out and an answer too long have their own error types; the next invocation works again."""
    with RuntimeEmulator({}, timeout=1, package=probe, handler="probe.obey") as function:
        for event, error_type in [
            ({"raise": "no"}, "ValueError"),
            ({"sleep": 5}, "Sandbox.Timedout"),
            ({"answer": 6_500_000}, "Function.ResponseSizeTooLarge"),
        ]:
            with pytest.raises(FunctionError) as failure:
                function.invoke(event)
            assert failure.value.error_type == error_type
            assert function.invoke({}, request_id="retried")["requestId"] == "retried"
        assert "REPORT RequestId: retried" in function.logs


def test_death_is_told_and_survived(probe: Path) -> None:
    """A killed process fails its invocation at once, the next one gets a new process, and none stays behind."""
    with RuntimeEmulator({}, timeout=20, package=probe, handler="probe.obey") as function:
        first = function.invoke({})["pid"]
        assert function.pid == first
        assert function.rss > 0
        killer = threading.Timer(0.2, function.kill)
        killer.start()
        start = time.monotonic()
        with pytest.raises(FunctionError, match="signal: killed"):
            function.invoke({"sleep": 15})
        assert time.monotonic() - start < 10
        killer.join()
        second = function.invoke({})["pid"]
        assert second != first
    assert not Path(f"/proc/{second}").exists()
