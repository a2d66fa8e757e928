"""How cost grows with the number of images in a request: seconds and calls, beside a boto3 loop and the AWS CLI."""

from collections import Counter
from dataclasses import dataclass

from benchmarks.function_under_test import CHUNK_SIZE
from benchmarks.goals import Scale
from benchmarks.http_server import DYNAMODB_OPERATIONS
from benchmarks.testbed import Testbed


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds and calls that one request for so many images takes, by whom."""

    images: int
    function: float
    loop: float
    loop_measured: bool
    cli: float
    cli_measured: bool
    """It is one call; the time for more is extrapolated."""
    ecr_calls: int
    dynamodb_calls: int


def growth(testbed: Testbed, scale: Scale) -> list[Growth]:
    """Measures requests of growing size."""
    found = []
    per_call = scale.latency
    for images in scale.growth_images:
        calls = -(-images // CHUNK_SIZE)
        measured = images <= scale.growth_loop_images
        ecr, others = Counter(testbed.ecr.calls), Counter(testbed.others.calls)
        with testbed.ecr_latency(scale.latency):
            times = testbed.measure("large_request", images=images, loop_images=images if measured else 0)
            # Beside what counts: a request and a call of the loop, made before to be warm, and the loop's own calls.
            ecr_calls = (testbed.ecr.calls - ecr).total() - 2 - (calls if measured else 0)
            dynamodb_calls = sum((testbed.others.calls - others)[name] for name in DYNAMODB_OPERATIONS) - 2
            cli = testbed.cli(min(images, CHUNK_SIZE)) * calls
        if measured:
            per_call = times["loop"] / calls
        loop = times["loop"] if measured else per_call * calls
        found.append(Growth(images, times["function"], loop, measured, cli, calls == 1, ecr_calls, dynamodb_calls))
    return found
