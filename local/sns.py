"""moto's SNS, which here keeps each notice as its subscribers read it, and counts bytes as the real one does."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import moto.sns.urls
from moto.sns.exceptions import SNSInvalidParameter
from moto.sns.models import SNSBackend, sns_backends

MESSAGE_BYTES = 262_144
"""The bytes that SNS takes in one message, its attributes included."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message published to a topic, as its subscribers read it."""

    subject: str
    text: str
    """The e-mail's text."""
    data: Any
    """The text for every other protocol, parsed when it is JSON."""
    chat: Any
    """The same for https subscribers, where they get another one."""
    attributes: dict[str, Any]
    """The values that subscription filters see, by name; a String.Array is a list."""


class CorrectedSNS(SNSBackend):
    """One account's topics in one region."""

    _url_module = moto.sns.urls

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.published: list[tuple[str | None, Notice]] = []
        """The published notices, each with its topic."""

    def publish(  # noqa: PLR0913, PLR0917  # as moto calls it
        self,
        message: str,
        arn: str | None,
        phone_number: str | None = None,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> str:
        """Publishes a message; keeps what the protocols make of it."""
        attributes = message_attributes or {}
        texts = _texts(message, message_structure)
        _check_subject(subject)
        size = len(message.encode()) + sum(
            len(f"{name}{value['Type']}{value['Value']}".encode()) for name, value in attributes.items()
        )
        if size > MESSAGE_BYTES:
            raise SNSInvalidParameter("Invalid parameter: Message too long")
        message_id: str = super().publish(
            message,
            arn,
            phone_number=phone_number,
            subject=subject,
            message_attributes=message_attributes,
            group_id=group_id,
            deduplication_id=deduplication_id,
            message_structure=message_structure,
        )
        notice = Notice(
            subject=subject or "",
            text=texts.get("email", texts["default"]),
            data=_parsed(texts["default"]),
            chat=_parsed(texts["https"]) if "https" in texts else None,
            attributes={name: _attribute(value) for name, value in attributes.items()},
        )
        self.published.append((arn, notice))
        return message_id


def install() -> None:
    """From now on moto answers for SNS with this backend; what it had before is forgotten."""
    sns_backends.reset()
    sns_backends.clear()
    sns_backends.backend = CorrectedSNS


def _texts(message: str, structure: str | None) -> dict[str, str]:
    """The text for each protocol; a message without structure is the same for all."""
    if structure is None:
        return {"default": message}
    texts = _parsed(message)
    if not isinstance(texts, dict) or not isinstance(texts.get("default"), str):
        raise SNSInvalidParameter("Invalid parameter: Message Structure - No default entry in JSON message body")
    return texts


def _check_subject(subject: str | None) -> None:
    if subject is not None and not (
        0 < len(subject) < 100 and subject.isascii() and subject.isprintable() and subject[0] != " "  # noqa: PLR2004
    ):
        raise SNSInvalidParameter("Invalid parameter: Subject")


def _attribute(value: Mapping[str, Any]) -> Any:
    return json.loads(value["Value"]) if value["Type"] in ("Number", "String.Array") else value["Value"]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
