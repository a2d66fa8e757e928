"""The report of a request: the counts that answers, notices and metrics share, and what an invocation answers."""

import json

import pytest

from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import ChunkOutcome
from handler.models.report import UNCONFIRMED_REASON, FanOutReport
from handler.models.selection_outcome import SelectionOutcome
from tests.values import ACCOUNT, FOREIGN, deletion_report, deletion_request, digest, failure, selection_report

KEPT = tuple(ImageFailure(ImageId(digest(n)), "StillTagged", "it has a tag") for n in range(20))
FULL = deletion_report(*(failure(f"kept-{n}") for n in range(20)), deleted=20)._replace(kept=KEPT)


def test_an_answer_is_the_output_of_the_cli() -> None:
    """Deleted images and failures in ECR's own form, beside the keys of the request; and no empty words."""
    assert deletion_report(failure(), deleted=1).to_answer(ACCOUNT) == {
        "imageIds": [{"imageTag": "gone-0"}],
        "failures": [
            {
                "imageId": {"imageTag": "precise"},
                "failureCode": "ImageNotFound",
                "failureReason": "Requested image not found",
            }
        ],
        "requestId": "cleanup-1",
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
    }


def test_an_answer_names_the_registry_that_was_asked() -> None:
    """That of the request, where it has one."""
    assert deletion_report(registry_id=FOREIGN).to_answer(ACCOUNT)["registryId"] == FOREIGN


def test_each_id_is_deleted_or_failed() -> None:
    """Failures of relatives are beside those of the ids asked for; what was kept is neither."""
    report = deletion_report(failure(), failure("other"), deleted=3)._replace(failed_relatives=1, kept=KEPT)
    report = report._replace(request=report.request._replace(image_ids=report.request.image_ids[1:]))
    assert (report.asked, report.done, report.failed, report.entries) == (5, 3, 2, 25)


def test_an_answer_says_what_is_unconfirmed() -> None:
    """An image that an earlier try may have deleted counts as deleted, with how many and why, and is no failure."""
    report = deletion_report(deleted=3)
    report = report._replace(unconfirmed=report.image_ids[:2])
    answer = report.to_answer(ACCOUNT)
    assert (report.done, report.failed, answer["failures"], len(answer["imageIds"])) == (3, 0, [], 3)
    assert (answer["unconfirmed"], answer["unconfirmedReason"]) == (2, UNCONFIRMED_REASON)
    outcome = SelectionOutcome(9, 9, chunk=ChunkOutcome(unconfirmed=(ImageId("d"),)), unconfirmed_omitted=4)
    assert selection_report(outcome).to_answer(ACCOUNT)["unconfirmed"] == 5
    assert not deletion_report(deleted=1).to_answer(ACCOUNT).keys() & {"unconfirmed", "unconfirmedReason"}


def test_an_answer_says_that_it_was_a_dry_run() -> None:
    """In the shape of the real one."""
    assert deletion_report(deleted=1, dry_run=True).to_answer(ACCOUNT)["dryRun"] is True
    assert "dryRun" not in deletion_report(deleted=1).to_answer(ACCOUNT)


@pytest.mark.parametrize(("cascade", "counted"), [(None, False), (True, False), (False, True)])
def test_what_is_left_untagged_is_counted_where_it_was_looked_up(cascade: bool | None, counted: bool) -> None:  # noqa: FBT001
    """Without a look-up, zero would be a lie; what was kept is listed with its reason."""
    report = deletion_report(deleted=1, cascade=cascade)._replace(kept=KEPT[:1], left_untagged=2)
    answer = report.to_answer(ACCOUNT)
    assert answer.get("leftUntagged") == (2 if counted else None)
    assert answer["kept"] == [{"imageId": {"imageDigest": digest(0)}, "code": "StillTagged", "reason": "it has a tag"}]


def test_an_answer_of_a_selection_is_in_numbers() -> None:
    """How many were selected and deleted, their bytes, what stays and why, and under which name it goes on."""
    chunk = ChunkOutcome((ImageId("d", "a"), ImageId("d", "b")), (failure(),), omitted=7)
    report = selection_report(SelectionOutcome(9, 5, 500, {"TooRecent": 4}, chunk, failures_omitted=3))
    answer = report.to_answer(ACCOUNT)
    assert (report.asked, report.done, report.failed) == (9, 5, 4)
    assert {key: answer[key] for key in ("selected", "deleted", "bytesReclaimed", "keptByReason")} == {
        "selected": 9,
        "deleted": 5,
        "bytesReclaimed": 500,
        "keptByReason": {"TooRecent": 4},
    }
    assert (answer["imageIdsOmitted"], answer["failuresOmitted"], "continuedAs" in answer) == (7, 3, False)
    assert (
        selection_report(SelectionOutcome(continued_as="cleanup-1#1")).to_answer(ACCOUNT)["continuedAs"]
        == "cleanup-1#1"
    )


WHOLE = len(json.dumps(FULL.to_answer(ACCOUNT)))


@pytest.mark.parametrize("limit", [*range(600, WHOLE, 211), WHOLE - 1, WHOLE, WHOLE + 1])
def test_an_answer_is_cut_to_its_limit(limit: int) -> None:
    """Failures are the last to go, then what was kept; the counts add up, and what is left fills the limit."""
    answer = FULL._replace(omitted=3).to_answer(ACCOUNT, limit) if limit < WHOLE else FULL.to_answer(ACCOUNT, limit)
    assert min(limit, WHOLE) - 200 < len(json.dumps(answer)) <= limit
    entries = [len(answer[key]) for key in ("failures", "kept", "imageIds")]
    omitted = [answer.get(f"{key}Omitted", 0) for key in ("failures", "kept", "imageIds")]
    assert [sum(pair) for pair in zip(entries, omitted, strict=True)] == [20, 20, 20 + 3 * (limit < WHOLE)]
    assert entries[0] == 20 or entries[1:] == [0, 0]
    assert entries[1] == 20 or entries[2] == 0


def test_an_answer_of_a_full_repository_fits_lambda() -> None:
    """30,000 failures of the longest tags are more than Lambda's 6 MB."""
    failures = [failure(f"{n:0300}") for n in range(30_000)]
    answer = deletion_report(*failures).to_answer(ACCOUNT)
    assert 5_990_000 < len(json.dumps(answer)) <= 6_000_000
    assert answer["failures"] == [failed.to_json() for failed in failures[: len(answer["failures"])]]
    assert len(answer["failures"]) + answer["failuresOmitted"] == 30_000


@pytest.mark.parametrize("limit", [200, 1_000])
def test_an_answer_of_a_fan_out_is_cut_to_its_limit(limit: int) -> None:
    """Lambda refuses a longer one; the repositories that it leaves out are counted."""
    names = tuple(f"team/app-{n}" for n in range(100))
    answer = FanOutReport(deletion_request(), names).to_answer(ACCOUNT, limit)
    assert len(json.dumps(answer)) <= limit
    assert len(answer["repositoryNames"]) + answer["repositoryNamesOmitted"] == 100


def test_the_answer_of_a_fan_out_names_its_repositories() -> None:
    """Each of them has a separate request, with a report of its own."""
    request = deletion_request(repository_name="", repository_names=("team/*",))
    assert FanOutReport(request, ("team/app", "team/base")).to_answer(ACCOUNT) == {
        "requestId": "cleanup-1",
        "registryId": ACCOUNT,
        "repositoryNames": ["team/app", "team/base"],
    }
    assert FanOutReport(request._replace(registry_id=FOREIGN), ()).to_answer(ACCOUNT)["registryId"] == FOREIGN
