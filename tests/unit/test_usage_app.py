"""The entry of the function that reads what is in use: its clients, its metrics, and what becomes of failures."""

import json
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from handler.models.errors import ServiceUnavailableError
from handler.usage.inventory import Inventory
from handler.usage.reading import ReadingFailedError
from handler.usage.settings import ReaderSettings
from local.runtime import FakeLambdaContext
from tests.environment import READER_VARIABLES
from tests.fakes.aws import response
from tests.fakes.lambda_ import ImpatientContext
from tests.fakes.scripted import ScriptedAWS
from tests.fakes.usage import REGISTRY, FakeUsage, digest

with mock.patch.dict("os.environ", READER_VARIABLES):  # which it reads when it is imported
    from handler import usage_app

type Json = dict[str, Any]

HOUR = 3_600.0


class Function:
    """An instance of the function, with an AWS behind its clients."""

    def __init__(self, **variables: str) -> None:
        self.running = FakeUsage()
        self.aws = ScriptedAWS()
        self.invoked: list[Json] = []
        services = usage_app.Services(ReaderSettings.from_env(READER_VARIABLES | variables))
        sources: Any = services.sources.values()
        clients = {services.dynamodb, services.lambda_, *(source.args[0] for source in sources)}
        for client in clients:
            client.meta.events.register_first("before-send", self._before_send)
        self.services = services
        self.inventory = Inventory(services.dynamodb, "usage")
        self._handler = usage_app.create_handler(services)

    def _before_send(self, request: Any, event_name: str, **_: Any) -> Any:
        service, operation = event_name.split(".")[1:]
        if operation == "Invoke":
            assert request.headers["X-Amz-Invocation-Type"] == b"Event"
            assert request.url.endswith("/functions/UsageFunction/invocations")
            self.invoked.append(json.loads(request.body))
            return response(202, "")
        behind = self.aws if service == "dynamodb" else self.running
        return behind.before_send(request, event_name)

    def invoke(self, event: Any = None, context: FakeLambdaContext | None = None) -> None:
        """Invokes the function."""
        given: Any = context or FakeLambdaContext(function_name="UsageFunction", timeout=900)
        self._handler(event or {}, given)


@pytest.fixture(autouse=True)
def sleep() -> Iterator[mock.Mock]:
    """Nobody waits."""
    with mock.patch("time.sleep") as sleep:
        yield sleep


def metrics(text: str) -> dict[tuple[str, str], float]:
    """The metrics that were printed, by name and source; each must be of the stack."""
    found = {}
    for line in text.splitlines():
        entry = json.loads(line)
        for directive in entry.get("_aws", {}).get("CloudWatchMetrics", []):
            assert directive["Namespace"] == "EcrImageDeletion"
            assert {name for names in directive["Dimensions"] for name in names} == {"service", "source"}
            assert entry["service"] == "ecr-image-deletion"
            for metric in directive["Metrics"]:
                [value] = entry[metric["Name"]]
                found[metric["Name"], entry["source"]] = value
    return found


def test_each_source_that_was_read_is_known_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """How old it is, and how many images it uses: each once, whoever uses it."""
    function = Function()
    running = function.running
    running.clusters = ["prod"]
    for _ in range(2):
        running.run_task("prod", {"image": f"{REGISTRY}/app@{digest(1)}", "imageDigest": digest(1)})
    code = {"ResolvedImageUri": f"{REGISTRY}/app@{digest(2)}"}
    running.functions = [{"FunctionName": "f", "Version": "1", "PackageType": "Image", "Code": code}]
    function.invoke()
    counted = metrics(capsys.readouterr().out)
    assert {key: value for key, value in counted.items() if key[0] != "UsageAgeMinutes"} == {
        ("UsageKnown", "ecs"): 1,
        ("UsageKnown", "lambda"): 1,
        ("UsageKnown", "inspector"): 1,
        ("ImagesInUse", "ecs"): 1,
        ("ImagesInUse", "lambda"): 1,
        ("ImagesInUse", "inspector"): 0,
    }
    ages = {source: value for (name, source), value in counted.items() if name == "UsageAgeMinutes"}
    assert ages.keys() == {"ecs", "lambda", "inspector"}
    assert all(0 <= age < 1 for age in ages.values())
    assert len(function.inventory.uses("app")) == 2


def test_a_source_that_cannot_be_read_fails_the_invocation_and_is_counted(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """So that Lambda tries again; the others are read and counted, and the log has the error."""
    function = Function()
    function.running.edits["ListClusters"] = lambda _: response(200, "{")
    with pytest.raises(ReadingFailedError, match="not read: ecs"):
        function.invoke()
    counted = metrics(capsys.readouterr().out)
    assert {source: value for (name, source), value in counted.items() if name == "UsageKnown"} == {
        "ecs": 0,
        "lambda": 1,
        "inspector": 1,
    }
    assert ("UsageAgeMinutes", "ecs") not in counted  # it was never read
    [entry] = [record for record in caplog.records if record.message == "source not read"]
    assert entry.exc_info
    assert (vars(entry)["source"], entry.exc_info[0]) == ("ecs", ServiceUnavailableError)


def test_between_two_readings_only_the_ages_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Of sources that are not due by the schedule."""
    function = Function(PROTECT_IN_USE="lambda")
    began = time.time() - HOUR / 2
    function.inventory.believe("lambda", began=began, expires=began + 3 * HOUR)
    function.invoke({"whenDue": True})
    assert function.running.calls.total() == 0
    counted = metrics(capsys.readouterr().out)
    assert counted.pop(("UsageAgeMinutes", "lambda")) == pytest.approx(30, abs=0.1)
    assert counted == {("UsageKnown", "lambda"): 1}


def test_declared_sources_are_one_for_the_alarm_and_each_has_its_age(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """While one of them is not known, they are not; the log names it. Nothing is read of them."""
    function = Function(PROTECT_IN_USE="declared", USAGE_SOURCES="eks/prod,nomad")
    assert not function.services.sources
    now = time.time()
    function.inventory.believe("eks/prod", began=now - HOUR, expires=now + HOUR)
    function.inventory.believe("nomad", began=now - 2 * HOUR, expires=now - 1)
    function.invoke({"whenDue": True})
    counted = {key: round(value) for key, value in metrics(capsys.readouterr().out).items()}
    assert counted == {
        ("UsageAgeMinutes", "eks/prod"): 60,
        ("UsageAgeMinutes", "nomad"): 120,
        ("UsageKnown", "declared"): 0,
    }
    unknown = [vars(record)["source"] for record in caplog.records if record.message == "source not known"]
    assert unknown == ["nomad"]
    function.inventory.believe("nomad", began=now, expires=now + HOUR)
    function.invoke({"whenDue": True})
    assert metrics(capsys.readouterr().out)["UsageKnown", "declared"] == 1


@pytest.mark.parametrize(("began", "lasts"), [(-4 * HOUR, 3 * HOUR), (HOUR, HOUR)])
def test_a_source_that_the_guard_would_not_believe_is_not_known(
    capsys: pytest.CaptureFixture[str], began: float, lasts: float
) -> None:
    """One that was read too long ago, or in the future, whatever becomes of its next reading."""
    function = Function(PROTECT_IN_USE="ecs")
    function.running.edits["ListClusters"] = lambda _: response(200, "{")
    now = time.time()
    function.inventory.believe("ecs", began=now + began, expires=now + began + lasts)
    with pytest.raises(ReadingFailedError):
        function.invoke({"whenDue": True})
    assert metrics(capsys.readouterr().out)["UsageKnown", "ecs"] == 0


def test_a_reading_goes_on_in_an_invocation_of_the_same_function(capsys: pytest.CaptureFixture[str]) -> None:
    """Which is not waited for; it finishes what the first began."""
    function = Function(PROTECT_IN_USE="lambda")
    for name in "ab":
        code = {"ResolvedImageUri": f"{REGISTRY}/app@{digest(ord(name))}"}
        version = {"FunctionName": name, "Version": "1", "PackageType": "Image", "Code": code}
        function.running.functions.append(version)
    # It is asked for the time before a source is claimed, before a unit, and before its calls.
    context = ImpatientContext(function_name="UsageFunction", timeout=900)
    context.patience = 3
    function.invoke(context=context)
    [event] = function.invoked
    assert (event["source"], event["after"]) == ("lambda", "a")
    assert metrics(capsys.readouterr().out) == {("UsageKnown", "lambda"): 0}
    function.invoke(event)
    counted = metrics(capsys.readouterr().out)
    assert (counted["UsageKnown", "lambda"], counted["ImagesInUse", "lambda"]) == (1, 2)
    assert function.running.calls["GetFunction"] == 2


def test_services_are_asked_at_their_pace(sleep: mock.Mock) -> None:
    """Each page waits for its turn."""
    function = Function(PROTECT_IN_USE="inspector")
    arn = f"arn:aws:ecr:us-east-1:123456789012:repository/app/{digest(1)}"
    function.running.coverage = [{"resourceId": arn}] * 6
    function.invoke()
    assert [call.args[0] > 0.4 for call in sleep.call_args_list] == [True, True, True]


def test_clients_are_made_for_the_sources_that_are_read() -> None:
    """The function has permissions and models for these alone."""
    with mock.patch("boto3.client", wraps=__import__("boto3").client) as client:
        Function(PROTECT_IN_USE="inspector,declared")
    assert {call.args[0] for call in client.call_args_list} == {"dynamodb", "lambda", "inspector2"}
