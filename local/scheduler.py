"""EventBridge Scheduler's one-off schedules in the embedded AWS, where time does nothing by itself."""

from datetime import UTC, datetime
from typing import Any

from moto.scheduler.models import scheduler_backends

from .aws import ACCOUNT_ID, REGION, EmbeddedAWS

_ONCE = "at(%Y-%m-%dT%H:%M:%S)"


def send_due(aws: EmbeddedAWS, now: datetime | None = None) -> int:
    """Sends what the one-off schedules say whose time has come, to their queues; returns how many these are.

    Each is sent once, and deleted: a choice, for ECR image deletion sets `ActionAfterCompletion` so. Schedules that
    recur are sent by `EmbeddedAWS.run_schedule`.
    """
    groups: Any = scheduler_backends[ACCOUNT_ID][REGION].schedule_groups
    due = [
        (group, schedule)
        for group in list(groups.values())
        for schedule in list(group.schedules.values())
        if schedule.schedule_expression.startswith("at(")
        and datetime.strptime(schedule.schedule_expression, _ONCE).replace(tzinfo=UTC) <= (now or datetime.now(UTC))
    ]
    sqs = aws.client("sqs")
    for group, schedule in due:
        group.schedules.pop(schedule.name)
        url = sqs.get_queue_url(QueueName=schedule.target["Arn"].rpartition(":")[2])["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=schedule.target["Input"])
    return len(due)
