"""The only room that calls SNS; owns the shape of what people read."""

import json
from typing import TYPE_CHECKING, NamedTuple

from .models import DeletionReport, Json, Origin, largest

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

MESSAGE_BYTES = 262_144
"""What SNS takes in one message, its attributes included."""

_SUBJECT_CHARACTERS = 99
_ENTRIES_IN_TEXT = 50
_CODES_IN_ATTRIBUTE = 10


class Notice(NamedTuple):
    """What SNS carries: JSON for machines, text for e-mail, attributes for subscription filters."""

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
    """Tells of every image of a request that could not be deleted; what `limit` bytes cannot hold is counted.

    Where nothing failed, or nothing was done, of what was deleted or would have been.
    """
    request = report.request
    codes = sorted({failure.code for failure in report.failures})
    attributes = {"type": _string(_type(report)), "repositoryName": _string(request.repository_name)}
    if codes:
        attributes["failureCodes"] = _strings(codes[:_CODES_IN_ATTRIBUTE])
    failed, asked = report.failed, report.asked
    if failed > asked:  # of a selection: the repository itself
        subject = f"nothing could be selected in {request.repository_name}"
    elif request.dry_run:
        subject = f"dry run: {report.deleted} of {asked} would be deleted in {request.repository_name}"
    elif failed:
        subject = f"{failed} of {asked} failed in {request.repository_name}"
    else:
        subject = f"{report.deleted} of {asked} deleted in {request.repository_name}"

    def first(count: int) -> Notice:
        data = _report_data(report, registry_id, count)
        return _notice(subject, data, _report_text(data), attributes)

    return largest(first, report.entries, lambda notice: notice.size, limit)


def rejection_notice(error: str, origin: Origin) -> Notice:
    """Tells of a request that can never work, why, and where it lies."""
    data = {"type": "rejection", "error": error, "origin": origin.to_json()}
    text = f"""\
A request was rejected. Nothing of it was carried out.

Why:       {error}
Arrived:   {origin}

A message stays on the queue until its last receive, then in the dead-letter queue, as it was sent.
Correct what is wrong with it and send it again.
"""
    return _notice("request rejected", data, text, {"type": _string("rejection")})


def publish(sns: "SNSClient", topic_arn: str, notice: Notice) -> str:
    """Publishes a notice and returns its message id; raises botocore's error when SNS does not take it."""
    return sns.publish(
        TopicArn=topic_arn,
        Subject=notice.subject,
        Message=notice.message,
        MessageStructure="json",
        MessageAttributes=notice.attributes,
    )["MessageId"]


def _type(report: DeletionReport) -> str:
    if report.request.dry_run:
        return "dryRun"
    return "failure" if report.failures else "report"


def _report_data(report: DeletionReport, registry_id: str, count: int) -> Json:
    """The first `count` entries for machines, with the request that tries the failures again."""
    request = report.request
    # Without the requestId: its steps are remembered, and trying again is a new wish.
    retry: Json = {"repositoryName": request.repository_name}
    if request.registry_id:
        retry["registryId"] = request.registry_id
    if request.reason:
        retry["reason"] = request.reason
    retry |= request.switches
    told = report.first(count)
    if not request.notify:
        del told["imageIds"]  # their count says enough
        told.pop("imageIdsOmitted", None)
    retry["imageIds"] = [failure["imageId"] for failure in told["failures"]]
    return {
        "type": _type(report),
        "requestId": request.request_id,
        "origin": request.origin.to_json(),
        "reason": request.reason,
        "registryId": request.registry_id or registry_id,
        "repositoryName": request.repository_name,
        "requested": report.asked,
        "deleted": report.deleted,
        "failed": report.failed,
        "failuresOmitted": 0,
        **told,
        # None from a dry run: it would be a real one.
        **({"retryRequest": retry} if any(retry["imageIds"]) and not request.dry_run else {}),
    }


def _report_text(data: Json) -> str:
    """The same for a person."""
    origin, dry = data["origin"], "dryRun" in data
    lines = [
        _headline(data),
        "",
        f"Repository:  {data['repositoryName']} in registry {data['registryId']}",
        f"Request:     {data['requestId']}",
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Reason:      {data['reason'] or '(none given)'}",
        f"Deleted:     {0 if dry else data['deleted']}",
    ]
    if "keptByReason" in data:
        kept = ", ".join(f"{count} {reason}" for reason, count in sorted(data["keptByReason"].items()))
        lines += [f"Kept:        {kept or 'none'}", f"Reclaimed:   {data['bytesReclaimed']:,} bytes at most"]
    if "continuedAs" in data:
        lines += [f"Goes on as:  {data['continuedAs']}"]
    if "leftUntagged" in data:
        lines += [f"Left:        {data['leftUntagged']} images without tags, of those that belonged to the deleted"]
    if data["failed"]:
        lines += ["", "Would be refused:" if dry else "Not deleted:"]
        shown = data["failures"][:_ENTRIES_IN_TEXT]
        for failure in shown:
            lines += [f"  {_name(failure)}", f"      {failure['failureCode']}: {failure['failureReason']}"]
        if more := data["failed"] - len(shown):
            lines += [f"  and {more} more; the JSON form of this notice tells up to {len(data['failures'])} of all."]
        elif "retryRequest" in data:
            lines += ["", "To try just these again, send this request:", json.dumps(data["retryRequest"])]
    lines += _listed("Kept, for they are still needed:", data.get("kept", []), data.get("keptOmitted", 0))
    deleted = [{"imageId": image_id} for image_id in data.get("imageIds", [])]
    lines += _listed("Would be deleted:" if dry else "Deleted:", deleted, data.get("imageIdsOmitted", 0))
    return "\n".join(lines) + "\n"


def _headline(data: Json) -> str:
    deleted, failed, requested = data["deleted"], data["failed"], data["requested"]
    if failed > requested:
        return "Nothing could be selected, and nothing was deleted."
    if "dryRun" in data:
        return f"A dry run: nothing was deleted. {deleted} of {requested} images would have been."
    if failed:
        return f"{failed} of {requested} images could not be deleted."
    return f"{deleted} of {requested} images were deleted."


def _listed(title: str, entries: list[Json], omitted: int) -> list[str]:
    if not entries:
        return []
    shown = entries[:_ENTRIES_IN_TEXT]
    lines = ["", title]
    lines += [f"  {_name(entry)}" + (f": {entry['reason']}" if "reason" in entry else "") for entry in shown]
    return [*lines, f"  and {more} more"] if (more := len(entries) - len(shown) + omitted) else lines


def _name(entry: Json) -> str:
    return ",".join(f"{key}={value}" for key, value in entry["imageId"].items()) or "(no tag, no digest)"


def _notice(subject: str, data: Json, text: str, attributes: "dict[str, MessageAttributeValueTypeDef]") -> Notice:
    subject = f"ECR image deletion: {subject}"
    if len(subject) > _SUBJECT_CHARACTERS:
        subject = subject[: _SUBJECT_CHARACTERS - 3] + "..."
    message = json.dumps({"default": json.dumps(data, ensure_ascii=False), "email": text}, ensure_ascii=False)
    return Notice(subject, message, attributes)


def _string(value: str) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String", "StringValue": value}


def _strings(values: list[str]) -> "MessageAttributeValueTypeDef":
    return {"DataType": "String.Array", "StringValue": json.dumps(values)}
