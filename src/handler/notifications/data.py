"""What people and systems are told, as JSON: the same in notices and in result events."""

from typing import TYPE_CHECKING, Any

from handler.models.failure_codes import RETRY_IS_NO_HELP, RETRY_WHOLE
from handler.models.images import Json
from handler.models.report import DeletionReport
from handler.models.request import Origin, quoted

from .advice import needs_action

if TYPE_CHECKING:
    from handler.models.summary import SummaryReport

_PATTERNS_SHOWN = 100
"""Of the names and patterns that a request for several repositories has: the summary counts what they meant."""
_READABLE = ("requestId", "repositoryName", "reason")
"""The members of a rejected request that are repeated."""


def report_type(report: DeletionReport) -> str:
    """Returns what kind of notice a report makes."""
    if report.request.dry_run:
        return "dryRun"
    return "failure" if report.failures else "report"


def report_data(report: DeletionReport, registry_id: str, count: int, *, names_done: bool) -> Json:
    """Returns the first `count` entries, with the request that tries the failures again.

    With `names_done`, what was done is named; otherwise its count says enough.
    """
    request = report.request
    value = report.first(count)
    if not names_done:
        del value[report.words.images]
        value.pop(report.words.omitted, None)
    retry = _retry_request(report, value["failures"])
    return _advised(
        {
            "type": report_type(report),
            "requestId": request.request_id,
            **({"partOf": request.part_of} if request.part_of != request.request_id else {}),
            "origin": request.origin.to_json(),
            "reason": request.reason,
            "registryId": request.registry_id or registry_id,
            "repositoryName": request.repository_name,
            "action": report.action,
            "requested": report.asked,
            report.words.number: report.done,
            "failed": report.failed,
            "failuresByCode": report.failures_by_code,
            "failuresOmitted": 0,
            **value,
            **({"untag": True} if request.untag else {}),
            **({"selection": request.payload["selection"]} if "selection" in request.payload else {}),
            **({"retryRequest": retry} if retry else {}),
        }
    )


def rejection_data(error: str, origin: Origin, content: Any, part_of: str | None = None) -> Json:
    """Returns why a request can never work, and as much of it as could be read.

    `part_of` is the requestId of the request for several repositories that led to it.
    """
    members = content if isinstance(content, dict) else {}
    readable = {name: quoted(members[name]) for name in _READABLE if isinstance(members.get(name), str)}
    of_many = {"partOf": part_of} if part_of else {}
    return _advised({"type": "rejection", "error": error, "origin": origin.to_json(), **of_many, **readable})


def summary_data(report: "SummaryReport", registry_id: str, count: int) -> Json:
    """Returns the numbers of a summary, and the first `count` of the repositories that it names."""
    request, outcome = report.request, report.outcome.first(count)
    named = (
        ("rejectedRepositories", outcome.rejected),
        ("failedRepositories", outcome.failed),
        ("unfinishedRepositories", outcome.unfinished),
    )
    return _advised(
        {
            "type": "summary",
            "requestId": request.root_id,
            "origin": request.origin.to_json(),
            "reason": request.reason,
            "registryId": request.registry_id or registry_id,
            "repositoryNames": request.payload["repositoryNames"][:_PATTERNS_SHOWN],
            "action": request.action,
            **({"dryRun": True} if request.dry_run else {}),
            **({"untag": True} if request.untag else {}),
            **({"selection": request.payload["selection"]} if "selection" in request.payload else {}),
            **outcome.counts,
            **{name: list(entries) for name, entries in named},
            **{f"{name}Omitted": left for (name, _), left in zip(named, outcome.omitted, strict=True) if left},
        }
    )


def _advised(data: Json) -> Json:
    """Returns the data of a notice, which says whether a person must act on it."""
    return data | {"actionRequired": needs_action(data)}


def _retry_request(report: DeletionReport, failures: list[Json]) -> Json | None:
    """Returns a request that tries again what trying again can help; None where there is nothing of the kind.

    Nor is there where another turn does that. Without the requestId: it is another request. None from a dry run: it
    would be a real one. What a grace period keeps is not named, for what is named is deleted at once.
    """
    request = report.request
    image_ids = [f["imageId"] for f in failures if f["imageId"] and f["failureCode"] not in RETRY_IS_NO_HELP]
    meant: Json = {"imageIds": image_ids}
    whole = any(f["failureCode"] in RETRY_WHOLE for f in failures if not f["imageId"])
    if request.selection and (whole or (image_ids and report.action != request.action)):
        meant = {name: request.payload[name] for name in ("selection", "allowPercent") if name in request.payload}
    goes_on = report.selection is not None and report.selection.continued_as is not None
    if request.dry_run or goes_on or not any(meant.values()):
        return None
    retry: Json = {"repositoryName": request.repository_name}
    if request.registry_id:
        retry["registryId"] = request.registry_id
    if request.reason:
        retry["reason"] = request.reason
    return {**retry, **request.switches, **meant}
