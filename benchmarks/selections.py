"""The goals of selections: a large repository against a boto3 loop, the usual script, and what ECR's own calls take."""

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.fake_ecr import PAGE, PLATFORMS
from benchmarks.function_under_test import BULK_TIMEOUT_SECONDS, CHUNK_SIZE, MAX_CONCURRENT_CALLS
from benchmarks.goals import MIB, Row, Scale, duration, milliseconds
from benchmarks.testbed import Testbed

KEEP = 10
"""The newest images of a repository, which a selection keeps; an index counts with what it names as one."""
_AT_ONCE = 5
"""BulkMaxConcurrency, as the template sets it."""
_LIMIT = 1.15
_MEMORY_MIB = 256


class Calls(NamedTuple):
    """The calls to ECR of a selection, as far as ECR's own limits demand them."""

    pages: int
    """Of the longer list, of images with a tag or without: each page names the next, so they come one after another."""
    other_look_ups: int
    """Pages of the other list, and the manifests of indexes: at the same time as these pages."""
    deletions: int
    """After all of that: of each 100 images, a call to see that they are unchanged, and one to delete them."""

    @classmethod
    def of(cls, tagged: int, untagged: int, indexes: int, selected: int) -> "Calls":
        """Returns those of a repository, of which so many images are selected."""
        shorter, longer = sorted(-(-images // PAGE) for images in (tagged, untagged))
        return cls(longer, shorter + -(-indexes // CHUNK_SIZE), 2 * -(-selected // CHUNK_SIZE))

    def seconds(self, takes: "Takes") -> float:
        """Returns how long they take at least, with as many at a time as the function makes."""
        listed = max(self.pages, (self.pages + self.other_look_ups) / MAX_CONCURRENT_CALLS)
        return listed * takes.page + self.deletions / MAX_CONCURRENT_CALLS * takes.deletion

    def explained(self, takes: "Takes") -> str:
        """Returns what the limit is made of."""
        beside = f", with {self.other_look_ups} other look-ups at the same time" if self.other_look_ups else ""
        return (
            f"limit {duration(self.seconds(takes))}: pages one after another, {self.pages} at "
            f"{milliseconds(takes.page)}{beside}; then {self.deletions} to check and delete at "
            f"{milliseconds(takes.deletion)}, {MAX_CONCURRENT_CALLS} at a time"
        )


class Takes(NamedTuple):
    """What one call takes, in seconds."""

    page: float
    deletion: float

    @classmethod
    def measured(cls, testbed: Testbed, images: int) -> "Takes":
        """Returns that of ECR as it is."""
        return cls(testbed.bare_page(images), testbed.bare_deletion())


def tagged_images(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures a whole repository but for its newest images, against its limit, a boto3 loop and the usual script."""
    images = scale.selection_images
    calls = Calls.of(tagged=images, untagged=0, indexes=0, selected=images - KEEP)
    with testbed.ecr_latency(scale.latency):
        ours = testbed.select(images=images, keep=KEEP)
        takes = Takes.measured(testbed, images)
        loop = testbed.measure("selection_by_loop", images=scale.selection_loop_images, keep=KEEP)
        loop *= images / scale.selection_loop_images
        listed = testbed.cli_list(images)
        call = statistics.fmean(testbed.cli(CHUNK_SIZE) for _ in range(scale.cli_calls))
    script = listed + call * -(-images // CHUNK_SIZE)
    return [
        _against_limit(
            f"a selection of {images - KEEP:,} images of {images:,}, {duration(scale.latency)} a call",
            ours,
            calls,
            takes,
        ),
        Row(
            "the same",
            "a sequential boto3 loop",
            1,
            "x",
            (loop / ours["seconds"],),
            faster=True,
            detail=f"loop {duration(loop)}, extrapolated from {scale.selection_loop_images:,} images",
        ),
        Row(
            "the same",
            "`aws ecr list-images`, then `batch-delete-image` for each 100",
            1,
            "x",
            (script / ours["seconds"],),
            faster=True,
            detail=f"script {duration(script)}: listed in {duration(listed)}, the calls at {duration(call)} each",
        ),
        _memory([ours]),
    ]


def indexes(testbed: Testbed, scale: Scale) -> list[Row]:
    """Measures a whole repository of indexes and what they name: one selection, several at once, and a slow ECR."""
    count, each = scale.selection_indexes, 1 + PLATFORMS
    selected = (count - KEEP) * each
    calls = Calls.of(tagged=count, untagged=count * PLATFORMS, indexes=count, selected=selected)
    with testbed.ecr_latency(scale.latency):
        one = testbed.select(images=count, keep=KEEP, platforms=PLATFORMS)
        takes = Takes.measured(testbed, count * PLATFORMS)
        with ThreadPoolExecutor(_AT_ONCE) as executor:
            several = list(
                executor.map(
                    lambda _: testbed.select(images=count, keep=KEEP, platforms=PLATFORMS),
                    range(scale.selections_at_once),
                )
            )
    with testbed.ecr_latency(scale.slow_latency):
        slow = testbed.select(images=count, keep=KEEP, platforms=PLATFORMS)
        takes_slowly = Takes.measured(testbed, count * PLATFORMS)
    seconds = [ours["seconds"] for ours in several]
    return [
        _against_limit(
            f"a selection of {selected:,} images of {count * each:,}: {count:,} tagged indexes, each with {PLATFORMS} "
            f"untagged images, {duration(scale.latency)} a call",
            one,
            calls,
            takes,
        ),
        _memory([one]),
        Row(
            f"{len(several)} of these at once, {_AT_ONCE} at a time: the slowest",
            "the time-out of one invocation",
            BULK_TIMEOUT_SECONDS,
            "s",
            (max(seconds),),
            detail=f"the fastest {duration(min(seconds))}; all of them and ECR share the machine's processors",
        ),
        _memory(several),
        Row(
            f"one of these, {duration(scale.slow_latency)} a call",
            "the time-out of one invocation",
            BULK_TIMEOUT_SECONDS,
            "s",
            (slow["seconds"],),
        ),
        _against_limit("the same", slow, calls, takes_slowly),
        _memory([slow]),
    ]


def _against_limit(work: str, ours: Any, calls: Calls, takes: Takes) -> Row:
    value = ours["seconds"] / calls.seconds(takes)
    detail = f"function {duration(ours['seconds'])}, {calls.explained(takes)}"
    return Row(work, "the physical limit of its calls", _LIMIT, "x", (value,), detail=detail)


def _memory(measured: Sequence[Any]) -> Row:
    peak = max(ours["bytes"] for ours in measured) / MIB
    return Row("peak memory, the same", "", _MEMORY_MIB, "MiB", (peak,))
