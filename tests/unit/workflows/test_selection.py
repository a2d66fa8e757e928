"""A request that says which images it means: admitted once, continued where time runs short, nothing left behind."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from handler.models.errors import OutOfTimeError, RejectedRequestError, ServiceUnavailableError
from handler.models.images import ImageId
from handler.models.limits import MAX_TURNS
from handler.models.report import DeletionReport
from handler.models.request import Selection
from handler.workflows.selected_to_archive import ArchivedSelection
from handler.workflows.selection import SelectedImages
from tests.fakes.clients import Clients
from tests.fakes.execution import execution
from tests.fakes.scripted import ScriptedAWS, refused
from tests.fakes.steps import MemorySteps, StepMemory
from tests.harness.function import one_after_the_other
from tests.values import deletion_request

REPOSITORY = "team/app"
OLD = Selection("tagged", ("pr-*",))


def select(
    clients: Clients,
    memory: StepMemory | None = None,
    *,
    remaining_seconds: Callable[[], float] = lambda: 60.0,
    turn: int = 0,
    variables: dict[str, Any] | None = None,
    **changes: Any,
) -> DeletionReport:
    """Carries out a request for a selection, or a further turn of it."""
    content = {"requestId": "r-1", "repositoryName": REPOSITORY, "selection": {}}
    name = f"r-1#{turn}" if turn else "r-1"
    request = deletion_request(
        key=("request", "r-1"), request_id=name, selection=OLD, payload=content, turn=turn, **changes
    )
    all_may_go: dict[str, Any] = {"max_percent_of_repository": 100}
    steps = MemorySteps(memory, turn)
    return SelectedImages(
        execution(clients, request, steps, remaining_seconds=remaining_seconds, **all_may_go | (variables or {}))
    ).carry_out()


def after(aws: ScriptedAWS, deletions: int) -> Callable[[], float]:
    """There is time until so many deletions."""
    return lambda: 60.0 if aws.calls["BatchDeleteImage"] < deletions else 0.1


def test_what_a_selection_means_is_deleted_and_counted(clients: Clients, aws: ScriptedAWS) -> None:
    """With what belongs to it; what is kept is counted by its reason, in one step."""
    child = aws.ecr.push(REPOSITORY, size=5)
    aws.ecr.push(REPOSITORY, "pr-1", children=[child], size=2)
    kept = [aws.ecr.push(REPOSITORY, "main"), aws.ecr.push(REPOSITORY, "pr-2", "prod")]
    report = select(clients, variables={"protected_tags": ("prod",)})
    assert report.selection
    assert (report.selection.selected, report.done, report.selection.bytes) == (2, 2, 7)
    assert report.selection.kept == {"NotMatched": 1, "ProtectedTag": 1}
    assert (aws.ecr.digests(REPOSITORY), report.failures) == (set(kept), ())


@pytest.mark.parametrize("share", [{"max_percent_of_repository": 50}, {"max_images_per_request": 1}])
def test_a_selection_that_means_too_much_is_rejected(clients: Clients, aws: ScriptedAWS, share: dict[str, int]) -> None:
    """Before anything is deleted."""
    for n in range(3):
        aws.ecr.push(REPOSITORY, f"pr-{n}" if n else "main")
    with pytest.raises(RejectedRequestError, match=r"^request\.selection means 2 "):
        select(clients, variables=share)
    assert len(aws.ecr.digests(REPOSITORY)) == 3
    if "max_percent_of_repository" in share:
        assert select(clients, variables=share, allow_percent=70).done == 2


def test_what_was_admitted_is_measured_by_the_limits_of_then(clients: Clients, aws: ScriptedAWS) -> None:
    """It stopped half way: a lower limit, or a share that is larger of what is left, does not reject it now."""
    for n in range(250):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    for n in range(250):
        aws.ecr.push(REPOSITORY, f"main-{n}")
    memory = StepMemory()
    half: dict[str, Any] = {"max_percent_of_repository": 50}
    aws.plays["BatchDeleteImage"] = [lambda do: do(), lambda do: do(), refused("ThrottlingException")]
    report = select(clients, memory, variables=half)
    assert (report.done, report.selection and report.selection.continued_as) == (200, "r-1#1")
    report = select(clients, memory, variables=half | {"max_images_per_request": 1}, turn=1)
    assert (report.done, len(aws.ecr.tags(REPOSITORY))) == (50, 250)


def test_what_has_grown_beyond_its_admission_is_a_failure(clients: Clients, aws: ScriptedAWS) -> None:
    """It is not rejected, for something may have been deleted; nothing more is."""
    aws.ecr.push(REPOSITORY, "pr-0")
    memory = StepMemory()
    few: dict[str, Any] = {"max_images_per_request": 2}
    aws.plays["BatchDeleteImage"] = [refused("ThrottlingException")]
    with pytest.raises(ServiceUnavailableError):
        select(clients, memory, variables=few)
    for n in range(3):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    report = select(clients, memory, variables=few)
    assert [failure.code for failure in report.failures] == ["SelectionGrew"]
    assert len(aws.ecr.tags(REPOSITORY)) == 3


def test_a_selection_goes_on_with_another_message_where_time_runs_short(clients: Clients, aws: ScriptedAWS) -> None:
    """It reports what it has deleted; the next turn belongs to the same claim and says so to people."""
    for n in range(250):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    report = select(clients, memory := StepMemory(), remaining_seconds=after(aws, 1))
    assert (report.done, report.selection and report.selection.continued_as) == (100, "r-1#1")
    follow_up = json.loads(aws.sent[0])["followUp"]
    assert (follow_up["turn"], follow_up["key"]) == (1, ["request", "r-1"])
    report = select(clients, memory, turn=1, remaining_seconds=after(aws, 2))
    assert (report.done, report.selection and report.selection.continued_as) == (100, "r-1#2")


def test_without_any_progress_a_redelivery_begins_anew(clients: Clients, aws: ScriptedAWS) -> None:
    """Time, or a refusal for now, before the first deletion: nothing is sent."""
    aws.ecr.push(REPOSITORY, "pr-1")
    with pytest.raises(OutOfTimeError):
        select(clients, remaining_seconds=after(aws, 0))
    aws.plays["DescribeImages"] = [refused("ThrottlingException")]
    with pytest.raises(ServiceUnavailableError):
        select(clients)
    aws.plays["BatchGetImage"] = [refused("ThrottlingException")]
    aws.ecr.push(REPOSITORY, "pr-2", children=["sha256:" + "0" * 64])
    with pytest.raises(ServiceUnavailableError):
        select(clients)
    assert (aws.sent, aws.ecr.tags(REPOSITORY)) == ([], {"pr-1", "pr-2"})


def test_a_dry_run_is_not_continued(clients: Clients, aws: ScriptedAWS) -> None:
    """The images that it foresees are still there, and would be foreseen without end: a redelivery begins anew."""
    for n in range(150):
        aws.ecr.push(REPOSITORY, f"pr-{n}")

    def remaining() -> float:
        return 60.0 if aws.calls["DescribeImages"] < 4 else 0.1

    with pytest.raises(OutOfTimeError):
        select(clients, dry_run=True, remaining_seconds=remaining)
    report = select(clients, dry_run=True)
    assert (report.done, len(aws.ecr.tags(REPOSITORY)), aws.sent) == (150, 150, [])


@pytest.mark.parametrize("listed", [2, 5], ids=["the list does not fit", "the list just fits"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_selection_for_which_time_never_suffices_is_told(
    clients: Clients, aws: ScriptedAWS, *, listed: int, dry_run: bool
) -> None:
    """Once, ECR may have been slow. Then how far it came, what to turn, and a request to try again with."""
    for n in range(5):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    aws.ecr.page = listed
    memory = StepMemory()

    def hurried() -> float:
        return 60.0 if aws.calls["DescribeImages"] < (2 if listed < 5 else 1) else 0.1

    with one_after_the_other(), pytest.raises(OutOfTimeError):
        select(clients, memory, dry_run=dry_run, remaining_seconds=hurried)
    aws.calls.clear()
    with one_after_the_other():
        report = select(clients, memory, dry_run=dry_run, remaining_seconds=hurried)
    [failure] = report.failures
    assert (failure.code, failure.image_id) == ("TimedOut", ImageId())
    assert ("2 images were listed" in failure.reason) == (listed < 5)
    assert "BulkTimeout" in failure.reason
    assert (len(aws.ecr.tags(REPOSITORY)), aws.sent) == (5, [])


@pytest.mark.parametrize("kind", [ArchivedSelection, SelectedImages])
def test_what_an_index_needs_is_archived_with_it_alone_whatever_is_tagged_meanwhile(
    clients: Clients, aws: ScriptedAWS, kind: type[SelectedImages]
) -> None:
    """An index gets its first tag while a large repository is listed: in parts, it would be in none of them.

    ECR may archive what an active index names; it does not delete that.
    """
    aws.ecr.children_can_be_archived = True
    child = aws.ecr.push(REPOSITORY, days=9)
    for n in range(4):
        aws.ecr.push(REPOSITORY, f"x-{n}", days=9)
    index = aws.ecr.push(REPOSITORY, days=9, children=[child])
    aws.ecr.page = 3

    def promote(do: Any) -> Any:
        answer = do()
        tagged = aws.asked("DescribeImages")[-1]["filter"].get("tagStatus") == "TAGGED"
        if tagged and "nextToken" not in json.loads(answer.content):
            aws.ecr.tag(REPOSITORY, index, "prod")
        return answer

    aws.plays["DescribeImages"] = [promote] * 20
    untagged = Selection("untagged", count_type="sinceImagePushed", count_number=1)
    content = {"requestId": "r-1", "repositoryName": REPOSITORY, "selection": {}}
    request = deletion_request(key=("request", "r-1"), selection=untagged, payload=content)._replace(
        action="archive" if kind is ArchivedSelection else "delete"
    )
    share: dict[str, Any] = {"max_percent_of_repository": 100, "allow_archive": True}
    with one_after_the_other():
        report = kind(execution(clients, request, MemorySteps(), **share)).carry_out()
    images = aws.ecr.repositories[REPOSITORY]
    assert report.failures == ()
    assert [images[digest].current_status() for digest in (child, index)] in (["ACTIVE"] * 2, ["ARCHIVED"] * 2)


def test_a_dry_run_that_never_ends_is_told_the_second_time(clients: Clients, aws: ScriptedAWS) -> None:
    """With what it has foreseen."""
    for n in range(150):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    aws.ecr.page = 1_000
    memory = StepMemory()

    def hurried() -> float:
        return 60.0 if aws.calls["DescribeImages"] < 3 else 0.1

    with pytest.raises(OutOfTimeError):
        select(clients, memory, dry_run=True, remaining_seconds=hurried)
    aws.calls.clear()
    report = select(clients, memory, dry_run=True, remaining_seconds=hurried)
    assert (report.done, [failure.code for failure in report.failures]) == (100, ["TimedOut"])


def test_a_selection_that_is_continued_without_end_is_a_failure(clients: Clients, aws: ScriptedAWS) -> None:
    """Something holds it up that no further turn will cure."""
    for n in range(150):
        aws.ecr.push(REPOSITORY, f"pr-{n}")
    report = select(clients, turn=MAX_TURNS, remaining_seconds=after(aws, 1))
    assert (report.done, [failure.code for failure in report.failures]) == (100, ["TooManyTurns"])
    assert aws.sent == []


@pytest.mark.parametrize(
    ("variables", "play", "code"),
    [
        ({"protected_repositories": ("team/*",)}, None, "ProtectedRepository"),
        ({"dry_run": True}, None, "StoppedByDryRun"),
        ({}, refused("RepositoryNotFoundException"), "RepositoryNotFoundException"),
    ],
)
def test_a_repository_that_cannot_be_selected_from_is_a_failure(
    clients: Clients, aws: ScriptedAWS, variables: dict[str, Any], play: Any, code: str
) -> None:
    """A guard's, without a call; or ECR's, which it would meet again."""
    aws.ecr.push(REPOSITORY, "pr-1")
    aws.plays["DescribeImages"] = [play] if play else []
    report = select(clients, variables=variables)
    assert [failure.code for failure in report.failures] == [code]
    assert len(aws.requests) == (1 if play else 0)
