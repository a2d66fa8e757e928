"""Notices: JSON for machines, text for e-mail, attributes for subscription filters."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.models.failure_codes import RETRY_IS_NO_HELP, RETRY_WHOLE
from handler.models.images import Json
from handler.models.limits import MESSAGE_BYTES, truncate_to_fit
from handler.models.report import DeletionReport
from handler.models.request import Origin, quoted

from .text import rejection_text, report_text

if TYPE_CHECKING:
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

_SUBJECT_CHARACTERS = 99
_CODES_IN_ATTRIBUTE = 10
_READABLE = ("requestId", "repositoryName", "reason")
"""The members of a rejected request that its notice repeats."""


class Notice(NamedTuple):
    """A message for SNS."""

    subject: str
    message: str
    """A JSON object of one text for each protocol (MessageStructure: json)."""
    attributes: "dict[str, MessageAttributeValueTypeDef]"

    @property
    def size(self) -> int:
        """Bytes, as SNS counts them: the message and each attribute's name, type and value; and the subject."""
        attributes = (name + a["DataType"] + a["StringValue"] for name, a in self.attributes.items())
        return sum(len(text.encode()) for text in (self.subject, self.message, *attributes))


def report_notice(report: DeletionReport, registry_id: str, limit: int = MESSAGE_BYTES) -> Notice:
    """Reports every image of a request that could not be deleted; what `limit` bytes cannot hold is counted.

    Where nothing failed, or nothing was done, what was deleted or would have been.
    """
    request = report.request
    codes = sorted({failure.code for failure in report.failures})
    attributes = {"type": _string(_type(report)), "repositoryName": _string(request.repository_name)}
    if codes:
        attributes["failureCodes"] = _strings(codes[:_CODES_IN_ATTRIBUTE])
    failed, asked, done = report.failed, report.asked, report.words.done
    if failed > asked:  # of a selection: the repository itself
        subject = f"nothing could be selected in {request.repository_name}"
    elif request.dry_run:
        subject = f"dry run: {report.done} of {asked} would be {done} in {request.repository_name}"
    elif failed:
        subject = f"{failed} of {asked} failed in {request.repository_name}"
    else:
        subject = f"{report.done} of {asked} {done} in {request.repository_name}"

    def first(count: int) -> Notice:
        data = _report_data(report, registry_id, count)
        return _notice(subject, data, report_text(data), attributes)

    return truncate_to_fit(first, report.entries, lambda notice: notice.size, limit)


def rejection_notice(error: str, origin: Origin, content: Any) -> Notice:
    """Reports a request that can never work: why, where it lies, and as much of it as could be read."""
    members = content if isinstance(content, dict) else {}
    readable = {name: quoted(members[name]) for name in _READABLE if isinstance(members.get(name), str)}
    data = {"type": "rejection", "error": error, "origin": origin.to_json(), **readable}
    return _notice("request rejected", data, rejection_text(data), {"type": _string("rejection")})


def _type(report: DeletionReport) -> str:
    if report.request.dry_run:
        return "dryRun"
    return "failure" if report.failures else "report"


def _report_data(report: DeletionReport, registry_id: str, count: int) -> Json:
    """Returns the first `count` entries for machines, with the request that tries the failures again."""
    request = report.request
    value = report.first(count)
    if not request.notify:
        del value[report.words.images]  # their count says enough
        value.pop(report.words.omitted, None)
    retry = _retry_request(report, value["failures"])
    return {
        "type": _type(report),
        "requestId": request.request_id,
        "origin": request.origin.to_json(),
        "reason": request.reason,
        "registryId": request.registry_id or registry_id,
        "repositoryName": request.repository_name,
        "action": report.action,
        "requested": report.asked,
        report.words.number: report.done,
        "failed": report.failed,
        "failuresOmitted": 0,
        **value,
        **({"untag": True} if request.untag else {}),
        **({"retryRequest": retry} if retry else {}),
    }


def _retry_request(report: DeletionReport, failures: list[Json]) -> Json | None:
    """Returns a request that tries again what trying again can help; None where there is nothing of the kind.

    Without the requestId: it is another request. None from a dry run: it would be a real one. What a grace period keeps
    is not named, for what is named is deleted at once.
    """
    request = report.request
    image_ids = [f["imageId"] for f in failures if f["imageId"] and f["failureCode"] not in RETRY_IS_NO_HELP]
    meant: Json = {"imageIds": image_ids}
    whole = any(f["failureCode"] in RETRY_WHOLE for f in failures if not f["imageId"])
    if request.selection and (whole or (image_ids and report.action != request.action)):
        meant = {name: request.payload[name] for name in ("selection", "allowPercent") if name in request.payload}
    if request.dry_run or not any(meant.values()):
        return None
    retry: Json = {"repositoryName": request.repository_name}
    if request.registry_id:
        retry["registryId"] = request.registry_id
    if request.reason:
        retry["reason"] = request.reason
    return {**retry, **request.switches, **meant}


def _notice(subject: str, data: Json, text: str, attributes: "dict[str, MessageAttributeValueTypeDef]") -> Notice:
    subject = f"ECR image deletion: {subject}"
    if len(subject) > _SUBJECT_CHARACTERS:
        subject = subject[: _SUBJECT_CHARACTERS - 3] + "..."
    machine_readable = json.dumps(data, ensure_ascii=False)
    if not machine_readable.isprintable():  # a character that SNS refuses must not cost the notice
        machine_readable = json.dumps(data)
    message = json.dumps({"default": machine_readable, "email": text}, ensure_ascii=False)
    return Notice(subject, message, attributes)


def _string(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}


def _strings(values: list[str]) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String.Array", "StringValue": json.dumps(values)}
