"""Random histories of images in use: whatever happens in whatever order, nothing in use is deleted.

A failing example is a history. `complaints` repeats it, and says what is wrong with what came of it.
"""

import itertools
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from local.aws import EmbeddedAWS
from tests.harness.direct import FAULTS, Fault, quick_queries
from tests.harness.function import one_after_the_other, still
from tests.harness.usage_history import (
    Ask,
    AskAgain,
    ChangeService,
    Declare,
    Deploy,
    Happening,
    History,
    Inspect,
    MoveTask,
    Named,
    Push,
    Refresh,
    Retag,
    RunTask,
    TakeTurn,
    UpdateFunction,
    Wait,
    complaints,
)
from tests.harness.usage_model import READ
from tests.harness.usage_world import PARAMETERS, Functions

EXAMPLES = 8 if settings().derandomize else settings().max_examples
"""In `make test`; with the profile of `make faults` as many as that has."""

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_READS = [
    *("ListClusters", "ListTaskDefinitionFamilies", "ListTasks", "DescribeTasks", "ListServices", "DescribeServices"),
    *("DescribeServiceRevisions", "ListTaskDefinitions", "DescribeTaskDefinition"),
    *("ListFunctions", "GetFunction", "ListCoverage", "Query", "UpdateItem", "Invoke"),
]
_DELETES = ["Query", "BatchGetImage", "DescribeImages", "UpdateItem", "BatchDeleteImage", "ListImageReferrers"]
_DESCRIBES = {"DescribeTasks", "DescribeServices", "DescribeServiceRevisions"}

numbers = st.integers(0, 9)
tags = st.sampled_from(["a", "b", "c"])
names = st.one_of(
    st.builds(Named, tag=tags), st.builds(Named, image=numbers), st.builds(Named, tag=tags, image=numbers)
)
pushes = st.one_of(
    st.builds(Push, st.none() | tags),
    st.builds(Push, st.none() | tags),
    st.builds(Push, st.none() | tags, children=st.lists(numbers, min_size=1, max_size=3).map(tuple)),
    st.builds(Push, st.none(), subject=numbers),
    st.builds(Push, st.none() | tags, signs=numbers),
)
workloads: st.SearchStrategy[Happening] = st.one_of(
    st.builds(Deploy, numbers, names, st.sampled_from([1, 1, 2, 0]), st.sampled_from([False, False, True])),
    st.builds(Deploy, numbers, names),
    st.builds(RunTask, numbers, names, st.booleans()),
    st.builds(UpdateFunction, st.sampled_from("fg"), names, st.booleans()),
    st.builds(Inspect, numbers, st.sampled_from([1, 1, 0])),
)
changes: st.SearchStrategy[Happening] = st.one_of(
    st.builds(ChangeService, numbers, st.sampled_from(["finish", "delete", "forget", "0", "2"])),
    st.builds(MoveTask, numbers, st.booleans()),
    st.builds(UpdateFunction, st.sampled_from("fg"), st.none()),
    st.builds(Inspect, numbers, st.just(0)),
    st.builds(Retag, tags, numbers),
    st.builds(Retag, tags, numbers),
)
waits = st.builds(
    Wait,
    st.sampled_from([4 * _MINUTE, 12 * _MINUTE, 50 * _MINUTE, 2 * _HOUR, 4 * _HOUR, _DAY + _HOUR, 3 * _DAY, 9 * _DAY]),
)
skews = st.sampled_from([10 * _MINUTE, -10 * _MINUTE, _HOUR, -_HOUR])
# It asks once before a source, and before each of its parts twice.
patiences = st.sampled_from([*range(3, 12, 2), *range(3, 12, 2), 2, 4, 8, 20])


def faults(operations: list[str]) -> st.SearchStrategy[Fault]:
    """Faults of these operations."""

    def possible(fault: Fault) -> bool:
        # Of what a list leaves out, nobody can know.
        return fault.kind != "left out" or fault.operation in _DESCRIBES

    counts = st.sampled_from([1, 100, 100])
    return st.builds(
        Fault, st.sampled_from(operations), st.sampled_from([*FAULTS]), st.sampled_from([1, 1, 1, 2, 3, 5]), counts
    ).filter(possible)


refreshes = st.one_of(
    st.just(Refresh()),
    st.builds(Refresh, faults(_READS), retried=st.booleans()),
    st.builds(Refresh, patience=patiences, retried=st.booleans()),
    st.builds(Refresh, patience=patiences),
    st.builds(Refresh, faults(_READS), patiences, st.just(0) | skews),
    st.just(Refresh(scheduled=True)),
)
interrupted = st.builds(Refresh, patience=patiences)
skewed = st.builds(Refresh, skew=skews, scheduled=st.booleans())
turns = st.one_of(
    st.builds(TakeTurn, numbers),
    st.builds(TakeTurn, numbers, patiences, st.just(0) | skews, st.none() | faults(_READS), st.booleans()),
)
declarations = st.builds(
    Declare,
    st.lists(names, max_size=3).map(tuple),
    st.sampled_from([10 * _MINUTE, _HOUR, 2 * _DAY, 20 * _DAY]),
    st.none() | st.none() | faults(["Query", "UpdateItem"]),
    st.booleans(),
)
_ANY_AGE = (("countType", "sinceImagePushed"), ("countUnit", "days"), ("countNumber", 1))
selections = st.sampled_from([
    (("tagStatus", "any"), *_ANY_AGE),
    (("tagStatus", "untagged"), *_ANY_AGE),
    (("tagStatus", "tagged"), ("tagPatternList", ["*"]), *_ANY_AGE),
    (("tagStatus", "any"), ("countType", "imageCountMoreThan"), ("countNumber", 1)),
    (("tagStatus", "untagged"), ("keepMostRecent", 1)),
])  # fmt: skip
switches = st.sampled_from([
    *((), (), (("cascade", True),), (("cascade", False),), (("untag", True),)),
    (("dryRun", True),),
])  # fmt: skip
troubles = st.none() | st.none() | faults(_DELETES)
others = {"fault": troubles, "dry_before": st.booleans(), "again": st.booleans()}
requested = names | st.builds(Named, image=numbers, signature=st.sampled_from([True]))
everything = st.sampled_from([
    tuple(Named(image=number) for number in range(12)),
    tuple(Named(tag=tag) for tag in "abc"),
    tuple(Named(image=number, signature=True) for number in range(12)),
])  # fmt: skip
requests = st.one_of(
    st.builds(Ask, st.lists(requested, min_size=1, max_size=5).map(tuple), switches=switches, **others),
    st.builds(Ask, everything, switches=switches, **others),
    st.builds(Ask, everything, fault=st.none() | troubles),
    st.builds(Ask, selection=selections, **others),
)
again = st.builds(AskAgain, numbers, troubles)
EPISODES: list[st.SearchStrategy[tuple[Happening, ...]]] = [
    *(st.tuples(one) for one in (pushes, workloads, changes, waits, refreshes, turns, again)),
    *[st.tuples(workloads, refreshes, requests)] * 3,
    *[st.tuples(workloads, workloads, interrupted, requests, turns, requests)] * 2,
    st.tuples(interrupted, waits, turns, waits, requests),
    *[st.tuples(changes, requests)] * 2,
    *[st.tuples(st.just(Refresh()), changes | workloads, waits, st.just(Refresh()) | skewed, requests)] * 3,
    *[st.tuples(pushes, requests)] * 3,
    st.tuples(st.builds(Push, tags, signs=numbers), st.builds(Ask, everything, switches=st.just((("untag", True),)))),
]
"""What belongs together; each as often as it is listed."""


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Images, workloads that use some of them, mostly a reading; then some episodes of any kind."""
    kinds = draw(
        st.sampled_from([READ, READ, (*READ, "declared"), (*READ, "declared"), ("ecs",), ("ecs-running", "declared")])
    )
    declared = "declared" in kinds
    episodes = [*EPISODES, *[st.tuples(declarations, requests)] * 3] if declared else EPISODES
    first = [Push(draw(st.none() | tags)), *draw(st.lists(pushes, min_size=3, max_size=8))]
    read = [Refresh(), Declare((Named(tag="a"),), 20 * _DAY)] if declared else [Refresh()]
    return History(
        (
            *first,
            *draw(st.lists(workloads, min_size=1, max_size=3)),
            *draw(st.sampled_from([read, read, read, []])),
            *itertools.chain.from_iterable(
                draw(st.lists(st.sampled_from(episodes).flatmap(lambda one: one), min_size=3, max_size=6))
            ),
        ),
        kinds,
        draw(st.sampled_from([7, 1, 0])),
    )


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """Returns the two functions, and the embedded AWS that serves all examples."""
    with (
        EmbeddedAWS(PARAMETERS) as aws,
        still(),
        one_after_the_other(),
        quick_queries(),
        # An example is the same each time, the digests of its images included.
        mock.patch("local.images.uuid4", side_effect=itertools.count()),
    ):
        yield Functions(aws)


@pytest.mark.filterwarnings("ignore:No application metrics")
@settings(max_examples=EXAMPLES)
@given(histories())
def test_nothing_in_use_is_deleted_whatever_happens(functions: Functions, history: History) -> None:
    """Nor is anything while it is not known what is in use; what was never in use goes; a dry run says the same."""
    wrong, said = complaints(functions, history)
    for line in said:
        note(line)
    assert wrong == []
