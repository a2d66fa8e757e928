"""The only room that calls SNS; owns the shape of what people read."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .models import DeletionReport, Json, Origin, largest

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

MESSAGE_BYTES = 262_144
"""What SNS takes in one message, its attributes included."""

_SUBJECT_CHARACTERS = 99
_FAILURES_IN_TEXT = 50
_CODES_IN_ATTRIBUTE = 10


@dataclass(frozen=True, slots=True)
class Notice:
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


def failure_notice(report: DeletionReport, registry_id: str, limit: int = MESSAGE_BYTES) -> Notice:
    """Tells of every image of a request that could not be deleted; what `limit` bytes cannot hold is counted."""
    codes = sorted({failure.code for failure in report.failures})
    attributes = {
        "type": _string("failure"),
        "repositoryName": _string(report.request.repository_name),
        "failureCodes": _strings(codes[:_CODES_IN_ATTRIBUTE]),
    }
    subject = f"{len(report.failures)} of {len(report.request.image_ids)} failed in {report.request.repository_name}"

    def first(count: int) -> Notice:
        data = _failure_data(report, registry_id, count)
        return _notice(subject, data, _failure_text(data), attributes)

    return largest(first, len(report.failures), lambda notice: notice.size, limit)


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


def _failure_data(report: DeletionReport, registry_id: str, count: int) -> Json:
    """The first `count` failures for machines, with the request that tries just these again."""
    request, failures = report.request, report.failures[:count]
    # Without the requestId: its steps are remembered, and trying again is a new wish.
    retry: Json = {"repositoryName": request.repository_name}
    if request.registry_id:
        retry["registryId"] = request.registry_id
    if request.reason:
        retry["reason"] = request.reason
    retry["imageIds"] = [failure.image_id.to_json() for failure in failures]
    return {
        "type": "failure",
        "requestId": request.request_id,
        "origin": request.origin.to_json(),
        "reason": request.reason,
        "registryId": request.registry_id or registry_id,
        "repositoryName": request.repository_name,
        "requested": len(request.image_ids),
        "deleted": report.deleted,
        "failed": len(report.failures),
        "failures": [failure.to_json() for failure in failures],
        "failuresOmitted": len(report.failures) - len(failures),
        "retryRequest": retry,
    }


def _failure_text(data: Json) -> str:
    """The same for a person."""
    origin = data["origin"]
    lines = [
        f"{data['failed']} of {data['requested']} images could not be deleted.",
        "",
        f"Repository:  {data['repositoryName']} in registry {data['registryId']}",
        f"Request:     {data['requestId']}",
        f"Arrived:     {origin['kind']} {origin['id']} from {origin['source']}",
        f"Reason:      {data['reason'] or '(none given)'}",
        f"Deleted:     {data['deleted']}",
        "",
        "Not deleted:",
    ]
    shown = data["failures"][:_FAILURES_IN_TEXT]
    for failure in shown:
        image_id = ",".join(f"{key}={value}" for key, value in failure["imageId"].items()) or "(no tag, no digest)"
        lines += [f"  {image_id}", f"      {failure['failureCode']}: {failure['failureReason']}"]
    if more := data["failed"] - len(shown):
        lines += [f"  and {more} more; the JSON form of this notice tells up to {len(data['failures'])} of all."]
    else:
        lines += ["", "To try just these again, send this request:", json.dumps(data["retryRequest"])]
    return "\n".join(lines) + "\n"


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
