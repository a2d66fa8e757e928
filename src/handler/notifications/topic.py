"""The SNS topic that carries notices."""

from typing import TYPE_CHECKING

from handler.models.outcomes import Published

from .notices import Notice

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


def publish(sns: "SNSClient", topic_arn: str, notice: Notice) -> Published:
    """Publishes a notice; raises botocore's error when SNS does not take it."""
    response = sns.publish(
        TopicArn=topic_arn,
        Subject=notice.subject,
        Message=notice.message,
        MessageStructure="json",
        MessageAttributes=notice.attributes,
    )
    return Published(response["MessageId"])
