"""`make acceptance` against the embedded AWS: it passes, finds a function that is broken, and leaves nothing behind."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.client import BaseClient
from moto.ecr.models import ecr_backends

from acceptance import __main__ as acceptance
from acceptance import announcement, plugin
from acceptance.aws import USER_AGENT
from acceptance.imitations import NOT_SERVED
from acceptance.names import TAG
from local.aws import ACCOUNT_ID, EmbeddedAWS
from local.runtime import Handler
from tests.acceptance_role import IMPLIED, NOT_CALLED, allowed
from tests.harness.acceptance_world import PARAMETERS, served

type Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
IMPATIENT = ("--patience", "0.00002")
"""For what fails: a check waits for a second, and for a dead letter for five."""
OPTIONS = ("--stack", "ecr-image-deletion", "--imitation", "embedded", "--patience", "0.001")


@dataclass
class Outcome:
    """What came of a run."""

    code: int
    output: str
    checks: Mapping[str, str]
    """What became of each check, by its name."""
    deleted: int
    """How many images the metric must count at least."""

    @property
    def failed(self) -> set[str]:
        """The checks that failed."""
        return {name for name, outcome in self.checks.items() if outcome == "failed"}

    @property
    def skipped(self) -> dict[str, str]:
        """Why checks were skipped."""
        return {name: outcome for name, outcome in self.checks.items() if outcome.startswith("skipped")}


@pytest.fixture
def aws(deploy: Callable[[Mapping[str, str]], EmbeddedAWS]) -> EmbeddedAWS:
    """The stack as the guide recommends it."""
    return deploy(PARAMETERS)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aws: EmbeddedAWS) -> Callable[..., Outcome]:
    """Runs it in this process, while the stack's functions are served; `wrap` may break them."""
    plugins: list[plugin.Plugin] = []

    class Kept(plugin.Plugin):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            plugins.append(self)

    monkeypatch.setattr(acceptance, "Plugin", Kept)

    def run(*arguments: str, wrap: Callable[[Handler], Handler] = lambda handler: handler) -> Outcome:
        output = io.StringIO()
        with served(aws, wrap):
            monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
            code = acceptance.main([*OPTIONS, "--facts", str(tmp_path / "FACTS.md"), *arguments], output)
        if not plugins:
            return Outcome(code, output.getvalue(), {}, 0)
        return Outcome(code, output.getvalue(), plugins[-1].outcomes, plugins[-1].world.deleted)

    return run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of a run so far, as IAM names them."""
    made: list[str] = []
    call: Any = BaseClient._make_api_call  # type: ignore[attr-defined]

    def record(client: Any, operation: str, parameters: Json) -> Any:
        if client.meta.config.user_agent_extra == USER_AGENT:
            name = {"Invoke": "InvokeFunction"}.get(operation, operation)
            made.append(f"{client.meta.service_model.service_name}:{name}")
        return call(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", record)
    return made


def left_behind(aws: EmbeddedAWS) -> list[str]:
    """Everything that is there and has to do with a run."""
    names = [repository["repositoryName"] for repository in aws.client("ecr").describe_repositories()["repositories"]]
    names += aws.client("sqs").list_queues(QueueNamePrefix="ecr-acceptance").get("QueueUrls", [])
    names += [rule["Name"] for rule in aws.client("events").list_rules()["Rules"]]
    names += [group["Name"] for group in aws.client("scheduler").list_schedule_groups()["ScheduleGroups"]]
    names += [function["FunctionName"] for function in aws.client("lambda").list_functions()["Functions"]]
    names += [role["RoleName"] for role in aws.client("iam").list_roles()["Roles"]]
    names += [one["Endpoint"] for one in aws.client("sns").list_subscriptions()["Subscriptions"]]
    names += aws.client("ecr").describe_registry()["replicationConfiguration"]["rules"]
    names += aws.messages("DeadLetterQueue")
    return [name for name in names if "acceptance" in str(name)]


def counted(log: str, metric: str) -> int:
    """The sum of a metric in the function's log, of which CloudWatch makes metrics."""
    entries = [json.loads(line) for line in log.splitlines() if '"CloudWatchMetrics"' in line]
    return int(sum(sum(entry.get(metric, [])) for entry in entries))


def test_a_run_of_everything(
    run: Callable[..., Outcome],
    aws: EmbeddedAWS,
    calls: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that the embedded AWS serves passes; the rest is named; what is announced is not exceeded; nothing is left.

    The role of the guide allows every call that is made, and no others than it needs.
    """
    outcome = run("--slow", "--throttle", "--replicate-to", "us-west-2")

    assert outcome.failed == set()
    assert outcome.code == 0, outcome.output
    reasons = set(outcome.skipped.values())
    assert reasons == {
        *(f"skipped: {reason}" for reason in NOT_SERVED["embedded"].values()),
        "skipped: deploy the stack with KmsKeyArn=<a key of yours>",
    }
    # The check of metrics cannot be served, but what it expects can be compared with what the function counts.
    assert 20 < outcome.deleted <= counted(capsys.readouterr().out, "ImagesDeleted")
    assert left_behind(aws) == []
    assert ecr_backends[ACCOUNT_ID]["us-west-2"].repositories == {}
    assert calls.count("ecr:CreateRepository") <= announcement.REPOSITORIES
    assert calls.count("ecr:PutImage") <= announcement.IMAGES
    first_made = outcome.output.index("  ok ")
    for said in ("account 123456789012", "us-east-1", aws.endpoint_url, "costs less than", TAG):
        assert said in outcome.output[:first_made]
    facts = (tmp_path / "FACTS.md").read_text()
    assert "Open:" in facts  # what was not asked
    assert "123456789012" not in facts
    assert facts.count("Asked ") == facts.count("\n## ") - facts.count("Open:")
    assert set(calls) - allowed() == set()
    assert allowed() - set(calls) == IMPLIED | NOT_CALLED


def does_nothing(_: Handler) -> Handler:
    """Says that all is done."""
    return lambda event, _: {"batchItemFailures": []} if "Records" in event else {"imageIds": [], "failures": []}


def answers_only(handler: Handler) -> Handler:
    """Answers as if images were deleted, which it leaves where they are."""

    def answer(event: Any, context: Any) -> Any:
        if "imageIds" not in event:
            return handler(event, context)
        answer = handler(event | {"dryRun": True}, context)
        return {name: value for name, value in answer.items() if name != "dryRun"}

    return answer


def forgets(handler: Handler) -> Handler:
    """Takes no request for one that it has carried out."""
    times = iter(range(1_000_000))

    def forget(event: Any, context: Any) -> Any:
        if "requestId" in event:
            event |= {"requestId": f"{event['requestId']}-{next(times)}"}
        return handler(event, context)

    return forget


def loses_messages(handler: Handler) -> Handler:
    """Takes each batch of messages off the queue, whatever became of it."""

    def lose(event: Any, context: Any) -> Any:
        answer = handler(event, context)
        return {"batchItemFailures": []} if "Records" in event else answer

    return lose


def deletes_more(aws: EmbeddedAWS) -> Callable[[Handler], Handler]:
    """Returns what deletes the other images of a repository as well."""

    def wrap(handler: Handler) -> Handler:
        def delete(event: Any, context: Any) -> Any:
            answer = handler(event, context)
            if name := event.get("repositoryName"):
                ids = [{"imageDigest": digest} for digest, tags in aws.images(name) if tags]
                if ids:
                    aws.client("ecr").batch_delete_image(repositoryName=name, imageIds=ids)
            return answer

        return delete

    return wrap


BROKEN_HANDLERS: dict[str, tuple[Callable[[EmbeddedAWS], Callable[[Handler], Handler]], str, set[str]]] = {
    "does nothing": (
        lambda _: does_nothing,
        "first or dry_run",
        {
            "test_answers.py::test_it_is_that_of_the_cli[the page's first example]",
            *(
                f"test_requests.py::test_a_dry_run_deletes_nothing[{kind}]"
                for kind in ("named", "selected", "untagged")
            ),
            "test_requests.py::test_a_dry_run_deletes_nothing[cascaded]",
        },
    ),
    "answers without deleting": (
        lambda _: answers_only,
        "second or nested or last_tag",
        {
            "test_answers.py::test_it_is_that_of_the_cli[the page's second example]",
            "test_requests.py::test_a_nested_index_goes_whole",
        },
    ),
    "deletes twice": (
        lambda _: forgets,
        "duplicate and hand or key_belongs",
        {"test_ways.py::test_a_duplicate_repeats_nothing[hand]", "test_requests.py::test_a_key_belongs_to_one_request"},
    ),
    "deletes more than was asked for": (
        deletes_more,
        "first or protected or moved or another_image or selection_says",
        {
            "test_answers.py::test_it_is_that_of_the_cli[the page's first example]",
            "test_guards.py::test_a_protected_tag",
            "test_guards.py::test_a_tag_that_names_another_image_by_now",
            "test_requests.py::test_a_selection_says_why_everything_else_stays",
        },
    ),
    "loses what can never work": (
        lambda _: loses_messages,
        "sent_back",
        {"test_dead_letters.py::test_a_dead_letter_is_sent_back"},
    ),
}
"""Ways to break the function, the checks that are run, and those of them that must fail."""


@pytest.mark.parametrize("name", BROKEN_HANDLERS)
def test_a_broken_function_is_found(run: Callable[..., Outcome], aws: EmbeddedAWS, name: str) -> None:
    """The checks that are about it fail, by name, and the run ends with an error."""
    break_it, only, expected = BROKEN_HANDLERS[name]
    outcome = run("--only", only, "--slow", *IMPATIENT, wrap=break_it(aws))
    assert outcome.failed == expected, outcome.output
    assert outcome.code == 1
    assert left_behind(aws) == []


def test_a_function_without_guards_and_reports_is_found(run: Callable[..., Outcome], aws: EmbeddedAWS) -> None:
    """One that ignores what is protected, what is in use and what is archived, and tells nobody what it does."""
    elsewhere = aws.client("sns").create_topic(Name="elsewhere")["TopicArn"]
    aws.environment |= {
        "PROTECTED_TAGS": "",
        "PROTECT_IN_USE": "",
        "ALLOW_ARCHIVE": "false",
        "RESULT_EVENTS": "none",
        "NOTIFICATION_TOPIC_ARN": elsewhere,
    }
    outcome = run("--only", "protected or function_uses or archived_and or result or report_on or first", *IMPATIENT)
    assert outcome.failed == {
        "test_guards.py::test_a_protected_tag",
        "test_guards.py::test_an_image_that_a_function_uses",
        "test_undo.py::test_an_image_is_archived_and_restored",
        "test_reports.py::test_a_result_is_an_event",
        "test_reports.py::test_a_report_on_request",
    }


def test_each_parameter_that_is_missing_is_named(
    deploy: Callable[[Mapping[str, str]], EmbeddedAWS], run: Callable[..., Outcome]
) -> None:
    """On a stack of defaults, what cannot be checked says what to deploy, and everything else passes."""
    deploy({"RepositoryPattern": "acceptance/*"})
    outcome = run("--only", "protected or function_uses or archived or result or bus or several")
    assert outcome.failed == set()
    named = {reason.rpartition(" ")[2] for reason in outcome.skipped.values() if "deploy" in reason}
    on = {"ProtectedTags=release-*", "ProtectInUse=lambda", "AllowArchive=true", "ResultEvents=all"}
    assert named == on | {"EventBusName=default"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prefix", ""), "PREFIX must be the beginning"),
        (("--prefix", "team/"), "it does not admit repositories that begin with team/"),
        (("--stack", "none"), "the stack none cannot be read"),
    ],
)
def test_a_run_that_would_not_be_safe_makes_nothing(
    run: Callable[..., Outcome],
    aws: EmbeddedAWS,
    calls: list[str],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    """Nothing is created, and the reason says what to choose instead."""
    assert run(*arguments).code == acceptance.REFUSED
    assert said in capsys.readouterr().err
    assert not [call for call in calls if not call.partition(":")[2].startswith(("Describe", "List", "Get"))]
    assert left_behind(aws) == []


def test_repositories_of_others_are_never_touched(
    run: Callable[..., Outcome], aws: EmbeddedAWS, capsys: pytest.CaptureFixture[str]
) -> None:
    """One without the tag under the prefix: no run begins there, and a cleanup leaves it alone."""
    aws.client("ecr").create_repository(repositoryName="acceptance/of-others")
    assert run().code == acceptance.REFUSED
    assert "acceptance/of-others begins with acceptance/" in capsys.readouterr().err
    assert run("--clean").code == 0
    assert left_behind(aws) == ["acceptance/of-others"]


class Process:
    """A run in a process of its own."""

    def __init__(self, aws: EmbeddedAWS, facts: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "acceptance", *OPTIONS, "--facts", str(facts), *arguments]
        environment = os.environ | {"AWS_ENDPOINT_URL": aws.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}
        # A shell lets what it runs in the background ignore SIGINT, and so would what is started here.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        signal.signal(signal.SIGINT, before)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, text: str) -> None:
        """Waits until a line has this text."""
        deadline = time.monotonic() + 120
        while not any(text in line for line in self.lines):
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.02)

    def end(self) -> str:
        """Waits for its end; returns what it has said."""
        self.process.wait(120)
        self._reader.join()
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))


def test_two_at_once_and_one_is_interrupted(aws: EmbeddedAWS, tmp_path: Path) -> None:
    """Ctrl-C removes what that run has made, and leaves the other one alone, which passes."""
    with served(aws):
        other = Process(aws, tmp_path / "other.md", "--only", "answers or function_uses or several")
        other.wait_for("  ok ")
        one = Process(aws, tmp_path / "one.md")  # all checks: it cannot be done before the signal arrives
        one.wait_for("  ok ")
        one.process.send_signal(signal.SIGINT)
        interrupted, passed = one.end(), other.end()
    assert one.process.returncode == 2
    assert "Removing what this run has made" in interrupted
    assert other.process.returncode == 0, passed
    assert " 0 failed" in passed
    assert left_behind(aws) == []


def test_what_a_killed_run_left_is_removed(run: Callable[..., Outcome], aws: EmbeddedAWS, tmp_path: Path) -> None:
    """`make acceptance-clean` finds it by its tag: all of the stack, or what one run has made."""
    with served(aws):
        killed = Process(aws, tmp_path / "one.md", "--only", "function_uses or report_on or schedule or result")
        killed.wait_for("  ok ")
        killed.wait_for("kind arrives[schedule-named]")
        killed.process.kill()
        killed.end()
    kinds = ("acceptance/", "notices", "schedule", "in-use", "once", "results")
    left = json.dumps(left_behind(aws))
    assert all(kind in left for kind in kinds), left
    assert run("--clean", "--run", "0" * 8).code == 0
    assert json.dumps(left_behind(aws)) == left
    outcome = run("--clean")
    assert outcome.code == 0
    assert "removed repository acceptance/" in outcome.output
    assert left_behind(aws) == []
