"""Metrics arrive in CloudWatch."""

from datetime import UTC, datetime, timedelta

from acceptance import kinds
from acceptance.world import World

SECONDS = 300
"""CloudWatch takes a minute or two to make metrics of the log."""


def test_images_deleted_are_counted(world: World, name: str) -> None:
    """At least those that this run's answers have counted: others may use the stack at the same time."""
    case = kinds.named(world, name)
    world.invoke(kinds.request_of(case, world.run.request_id(name)))
    begin = datetime.fromtimestamp(world.began, UTC).replace(second=0, microsecond=0)
    cloudwatch = world.clients("cloudwatch")

    def counted() -> bool:
        points = cloudwatch.get_metric_statistics(
            Namespace="EcrImageDeletion",
            MetricName="ImagesDeleted",
            Dimensions=[{"Name": "service", "Value": world.stack.name}],
            StartTime=begin,
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return bool(sum(point["Sum"] for point in points) >= world.deleted)

    world.until(counted, f"metric of {world.deleted} images", SECONDS)
