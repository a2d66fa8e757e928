"""Images in use, with both packages as they are deployed: one reads what runs, the other keeps it."""

from datetime import UTC, datetime, timedelta

import pytest

from local.aws import EmbeddedAWS
from local.images import push_running
from local.rie import PACKAGE, RuntimeEmulator


@pytest.fixture
def parameters() -> dict[str, str]:
    """A stack that protects whatever any source says to be in use."""
    return {"ProtectInUse": "ecs,lambda,inspector,declared", "UsageSources": "nomad"}


def test_what_runs_stays(aws: EmbeddedAWS, function: RuntimeEmulator) -> None:
    """Nothing is deleted until all sources have been read or have declared; then what runs stays, and the rest goes."""
    running = push_running(aws)
    [never] = [digest for digest, tags in aws.images("team/api") if not tags and digest != running]
    request = {"repositoryName": "team/api", "imageIds": [{"imageDigest": running}, {"imageDigest": never}]}

    def codes() -> list[str]:
        return [failure["failureCode"] for failure in function.invoke(request)["failures"]]

    assert codes() == ["UsageUnknown"] * 2
    usage = PACKAGE.with_name("UsageFunction")
    with RuntimeEmulator(
        aws.usage_environment, timeout=900, handler="handler.usage_app.lambda_handler", package=usage
    ) as read:
        assert read.invoke({}) is None
    assert codes() == ["UsageUnknown"] * 2
    expires = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    function.invoke({"source": "nomad", "imagesInUse": [], "expiresAt": expires})
    assert codes() == ["ImageInUse"]
    assert {digest for digest, tags in aws.images("team/api") if not tags} == {running}
