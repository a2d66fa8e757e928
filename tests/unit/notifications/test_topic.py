"""The topic gets a notice whole."""

from typing import Any

from handler.models.outcomes import Published
from handler.notifications import publish, rejection_notice
from tests.values import ORIGIN


class Sns:
    """An SNS that remembers what was published."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, **message: Any) -> dict[str, str]:
        self.published.append(message)
        return {"MessageId": "published-1"}


def test_a_notice_is_published_whole() -> None:
    """Subject, a text for each protocol, and attributes; the step stores the id that SNS gave it."""
    sns, notice = Sns(), rejection_notice("no", ORIGIN, None)
    assert publish(sns, "topic", notice) == Published("published-1")  # type: ignore[arg-type]  # what it uses of a client
    assert sns.published == [
        {
            "TopicArn": "topic",
            "Subject": notice.subject,
            "Message": notice.message,
            "MessageStructure": "json",
            "MessageAttributes": notice.attributes,
        }
    ]
