"""Notices: JSON for machines, text for e-mail, attributes for subscription filters; and a chat message where asked."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.models.images import Json
from handler.models.limits import MESSAGE_BYTES, truncate_to_fit
from handler.models.report import DeletionReport
from handler.models.request import Origin

from .data import rejection_data, report_data, report_type
from .text import count_of, rejection_text, report_text

if TYPE_CHECKING:
    from mypy_boto3_sns.type_defs import MessageAttributeValueTypeDef

_SUBJECT_CHARACTERS = 99
_CODES_IN_ATTRIBUTE = 10


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


def report_notice(
    report: DeletionReport, registry_id: str, limit: int = MESSAGE_BYTES, *, chat: bool = False
) -> Notice:
    """Reports every image of a request that could not be deleted; what `limit` bytes cannot hold is counted.

    Where nothing failed, or nothing was done, what was deleted or would have been. With `chat`, also as a chat message.
    """
    request = report.request
    attributes = {"type": string(report_type(report)), "repositoryName": string(request.repository_name)}
    attributes |= failure_codes(report.failures_by_code)
    failed, asked, words = report.failed, report.asked, report.words
    if failed > asked:  # of a selection: the repository itself
        subject = f"nothing could be selected in {request.repository_name}"
    elif request.dry_run:
        subject = f"dry run: {count_of(report.done, asked, words.things)} would be {words.done}"
        subject += f" in {request.repository_name}"
    elif failed:
        subject = f"{count_of(failed, asked, words.things)} not {words.done} in {request.repository_name}"
    else:
        subject = f"{count_of(report.done, asked, words.things)} {words.done} in {request.repository_name}"

    def first(count: int) -> Notice:
        data = report_data(report, registry_id, count, names_done=request.notify == "always")
        return notice(subject, data, report_text(data), attributes, chat=chat)

    return truncate_to_fit(first, report.entries, lambda notice: notice.size, limit)


def rejection_notice(
    error: str, origin: Origin, content: Any, part_of: str | None = None, *, chat: bool = False
) -> Notice:
    """Reports a request that can never work: why, where it lies, and as much of it as could be read."""
    data = rejection_data(error, origin, content, part_of)
    return notice("request rejected", data, rejection_text(data), {"type": string("rejection")}, chat=chat)


def notice(
    subject: str, data: Json, text: str, attributes: "dict[str, MessageAttributeValueTypeDef]", *, chat: bool = False
) -> Notice:
    """Returns a notice of this data, which e-mail has as this text."""
    subject = f"ECR image deletion: {subject}"
    if len(subject) > _SUBJECT_CHARACTERS:
        subject = subject[: _SUBJECT_CHARACTERS - 3] + "..."
    bodies = {"default": machine_readable(data), "email": text}
    if chat:
        from .chat import chat_message  # noqa: PLC0415  # what is not used is not imported

        bodies["https"] = machine_readable(chat_message(subject, data))
    attributes = {**attributes, "actionRequired": string(json.dumps(data["actionRequired"]))}
    return Notice(subject, json.dumps(bodies, ensure_ascii=False), attributes)


def machine_readable(data: Json) -> str:
    """Returns data as JSON, in which no character stands that SNS refuses: it must not cost the notice."""
    text = json.dumps(data, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(data)


def failure_codes(codes: Iterable[str]) -> "dict[str, MessageAttributeValueTypeDef]":
    """Returns the attribute that tells what failed, where something did."""
    each = sorted(set(codes))[:_CODES_IN_ATTRIBUTE]
    return {"failureCodes": {"DataType": "String.Array", "StringValue": json.dumps(each)}} if each else {}


def string(value: str) -> "MessageAttributeValueTypeDef":
    """Returns an attribute's value."""
    return {"DataType": "String", "StringValue": value}
