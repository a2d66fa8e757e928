"""Outcomes as a step stores them: they come back as they were, from a store that sorts the keys of objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.models.families import Family, FoundFamilies
from handler.models.images import ImageFailure, ImageId
from handler.models.outcomes import Admission, ChunkOutcome, Outcome, Published, SentRequests
from handler.models.selection_outcome import Digests, SelectionOutcome
from tests.values import digest


def stored[T: Outcome](outcome: T) -> T:
    """Returns an outcome as a redelivery reads it."""
    return type(outcome).from_json(json.loads(json.dumps(outcome.to_json(), sort_keys=True)))


TEXTS = st.text(max_size=3)
IDS = st.builds(ImageId, st.none() | TEXTS, st.none() | TEXTS)
FAILURES = st.builds(ImageFailure, IDS, TEXTS, TEXTS)
SOME_IDS, SOME_FAILURES = (st.lists(kind, max_size=4).map(tuple) for kind in (IDS, FAILURES))
COUNTS = st.integers(0, 10**12)
CHUNKS = st.builds(ChunkOutcome, SOME_IDS, SOME_FAILURES, SOME_IDS, COUNTS)
DIGESTS = st.integers(0, 5).map(digest)
"""Few, so that families share them."""
FAMILIES = st.builds(Family, DIGESTS, st.none() | DIGESTS, st.lists(DIGESTS, max_size=4).map(tuple))
SOME_TEXTS = st.lists(TEXTS, max_size=4).map(tuple)


@given(
    CHUNKS
    | st.builds(FoundFamilies, st.lists(st.none() | FAMILIES | FAILURES, max_size=5).map(tuple))
    | st.builds(Admission, COUNTS, COUNTS, COUNTS)
    | st.builds(Digests, SOME_TEXTS)
    | st.builds(SentRequests, SOME_TEXTS, st.booleans())
    | st.builds(Published, TEXTS)
    | st.builds(
        SelectionOutcome,
        *(COUNTS, COUNTS, COUNTS, st.dictionaries(TEXTS, COUNTS), CHUNKS, COUNTS, COUNTS, st.none() | TEXTS),
    )
)
def test_an_outcome_comes_back_from_the_store(outcome: Outcome) -> None:
    """With the order of all that has one, although stored objects come back with sorted keys."""
    assert stored(outcome) == outcome


def test_families_share_the_digests_that_they_name() -> None:
    """260 relatives that 20 indexes have in common are stored as one list, and fit an item."""
    relatives = tuple(digest(n) for n in range(260))
    families = tuple(Family(digest(1_000 + n), None, relatives) for n in range(20))
    assert len(json.dumps(FoundFamilies(families).to_json())) < 50_000
    assert stored(FoundFamilies(families)) == FoundFamilies(families)


def test_an_outcome_without_unconfirmed_ids_stores_no_word_of_them() -> None:
    """The common outcome stays small."""
    assert ChunkOutcome((ImageId("d", "a"),)).to_json() == {"imageIds": (("d", "a"),), "failures": []}


def test_a_selection_that_is_too_large_is_cut_failures_last() -> None:
    """Deleted images go first, then those that are unconfirmed; whatever goes is counted, and no count is touched."""

    def ids(letter: str, count: int) -> tuple[ImageId, ...]:
        return tuple(ImageId(f"{letter}{n}") for n in range(count))

    failures = tuple(ImageFailure(image_id, "KmsError", "why") for image_id in ids("f", 3))
    outcome = SelectionOutcome(12, 9, 500, {"MostRecent": 4}, ChunkOutcome(ids("d", 9), failures, ids("d", 4), 2))
    whole = len(json.dumps(outcome.to_json()))
    assert outcome.truncated(whole) == outcome
    lengths = set()
    for limit in range(whole - 1, 230, -7):
        cut = outcome.truncated(limit)
        assert len(json.dumps(stored(cut).to_json())) <= limit
        chunk = cut.chunk
        kept: Any = len(chunk.failures), len(chunk.unconfirmed), len(chunk.image_ids)
        assert (chunk.failures, chunk.unconfirmed, chunk.image_ids) == (
            failures[: kept[0]],
            ids("d", 4)[: kept[1]],
            ids("d", 9)[: kept[2]],
        )
        assert (cut.failures_omitted, cut.unconfirmed_omitted, chunk.omitted) == (
            3 - kept[0],
            4 - kept[1],
            2 + 9 - kept[2],
        )
        assert kept[0] == 3 or kept[1:] == (0, 0)
        assert kept[1] == 4 or kept[2] == 0
        assert (cut.selected, cut.deleted, cut.bytes, cut.kept) == (12, 9, 500, {"MostRecent": 4})
        lengths.add(kept)
    assert len(lengths) > 10


@pytest.mark.parametrize("limit", [0, 10])
def test_a_selection_that_fits_nowhere_is_cut_to_its_counts(limit: int) -> None:
    """The least there can be."""
    outcome = SelectionOutcome(1, 1, chunk=ChunkOutcome((ImageId("d"),)))
    assert outcome.truncated(limit).chunk == ChunkOutcome(omitted=1)
