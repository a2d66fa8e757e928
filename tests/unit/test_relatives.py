"""What belongs to images is found in rounds of steps, whole, and in the same order by a redelivery."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.deletion import Relatives
from handler.models.families import Family, FoundFamilies
from handler.models.images import ImageFailure, ImageId
from handler.relatives import RelativesFinder
from handler.steps import Attempt
from tests.fakes.steps import INLINE, KilledError, MemorySteps, StepMemory
from tests.values import by_digest, by_tag, digest

type Graph = Mapping[str, Sequence[str]]


class Families:
    """Finds families in a graph of digests, at most so many in one step; what has no place in it is not there."""

    def __init__(
        self,
        graph: Graph,
        *,
        subjects: Mapping[str, str] | None = None,
        failures: Mapping[str, str] | None = None,
        at_most: int = 20,
    ) -> None:
        self.graph, self.subjects, self.failures, self.at_most = graph, subjects or {}, failures or {}, at_most
        self.asked: list[tuple[ImageId, ...]] = []

    def __call__(self, attempt: Attempt, *, image_ids: Sequence[ImageId]) -> FoundFamilies:
        del attempt
        self.asked.append(tuple(image_ids))
        return FoundFamilies(tuple(self._family(image_id) for image_id in image_ids[: self.at_most]))

    def _family(self, image_id: ImageId) -> Family | ImageFailure | None:
        name = image_id.digest or digest(int(str(image_id.tag)))
        if name in self.failures:
            return ImageFailure(image_id, self.failures[name], "why")
        if name not in self.graph:
            return None
        return Family(name, self.subjects.get(name), tuple(self.graph[name]))


def find(families: Families, *image_ids: ImageId, steps: MemorySteps | None = None) -> Relatives:
    """Finds the relatives of these images."""
    return RelativesFinder(image_ids).run(families, steps or MemorySteps(), INLINE)


def graph(*edges: tuple[int, Iterable[int]]) -> dict[str, list[str]]:
    """The children of each."""
    found = {digest(of): [digest(n) for n in numbers] for of, numbers in edges}
    return {name: [] for some in found.values() for name in some} | found


def found(relatives: Relatives) -> dict[int, list[int]]:
    """The parents of each relative, by their numbers."""
    return {int(of[7:], 16): [int(parent[7:], 16) for parent in some] for of, some in relatives.parents.items()}


def test_relatives_are_found_level_by_level() -> None:
    """However deep they nest; each is looked for once, and what two name has both as its parents."""
    families = Families(graph((1, [3, 4]), (2, [4, 5]), (5, [6]), (6, [7])))
    relatives = find(families, ImageId(tag="1"), ImageId(digest(2)), *by_tag("9"))
    assert found(relatives) == {3: [1], 4: [1, 2], 5: [2], 6: [5], 7: [6]}
    assert families.asked == [
        (*by_tag("1"), *by_digest(2), *by_tag("9")),
        by_digest(3, 4, 5),
        by_digest(6),
        by_digest(7),
    ]


def test_what_is_named_is_no_relative() -> None:
    """By its digest; what it belongs to is known of it, and what belongs to it is found."""
    assert found(find(families := Families(graph((1, [2]), (2, [3]))), *by_digest(1, 2))) == {3: [2]}
    assert families.asked == [by_digest(1, 2), by_digest(3)]
    assert found(find(Families(graph((1, [2]), (2, [3]))), *by_digest(1, 1), ImageId(tag="1"))) == {2: [1], 3: [2]}


def test_a_signature_that_an_index_names_belongs_to_its_subject_too() -> None:
    """Which may stay; what is asked for by name needs nothing."""
    families = Families(graph((1, [2]), (3, [])), subjects={digest(2): digest(3)})
    assert found(find(families, *by_digest(1))) == {2: [1, 3]}
    assert found(find(families, *by_digest(2))) == {}


def test_families_are_looked_for_twenty_a_step() -> None:
    """Each with a call of its own; what did not fit into what one step may do is looked for in the next round."""
    families = Families(graph(*((n, [1_000 + n]) for n in range(50))), at_most=8)
    relatives = find(families, *by_digest(*range(50)), steps=(steps := MemorySteps()))
    assert found(relatives) == {1_000 + n: [n] for n in range(50)}
    assert [len(some) for some in families.asked[:3]] == [20, 20, 10]
    assert steps.done[:4] == ["find/0/0", "find/0/1", "find/0/2", "find/1/0"]


@pytest.mark.parametrize("code", ["UnreadableIndex", "TooManyRelatives", "AccessDeniedException"])
@pytest.mark.parametrize("unknown", [1, 3, 4])
def test_what_cannot_be_known_keeps_all_above_it(code: str, unknown: int) -> None:
    """The ids whose families it is part of stay, and are failures; others lose nothing."""
    families = Families(graph((1, [3]), (2, [5]), (3, [4])), failures={digest(unknown): code})
    ids = (ImageId(digest(1)), ImageId(digest(2)))
    relatives = find(families, *ids)
    assert {i: failure.code for i, failure in relatives.failures.items()} == {ids[0]: code}
    assert digest(5) in relatives.parents


def test_a_relative_that_cannot_be_shown_fails_alone() -> None:
    """Its own relatives are not known, so it stays; its parents may go."""
    families = Families(graph((1, [2, 3])), failures={digest(2): "KmsError"})
    relatives = find(families, *by_digest(1))
    assert {i: failure.code for i, failure in relatives.failures.items()} == dict.fromkeys(by_digest(2), "KmsError")
    assert found(relatives) == {2: [1], 3: [1]}


GRAPHS = st.dictionaries(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=4, unique=True), max_size=10)


@given(GRAPHS, st.lists(st.integers(0, 9), min_size=1, unique=True), st.integers(1, 3))
def test_all_relatives_are_found_however_they_nest(edges: dict[int, list[int]], asked: list[int], at_most: int) -> None:
    """Every image that something found names, with all that name it; and nothing else."""
    edges = {of: [n for n in numbers if n != of] for of, numbers in edges.items()}
    relatives = find(Families(graph(*edges.items()), at_most=at_most), *by_digest(*asked))
    family, before = set(asked), set[int]()
    while family != before:
        before = set(family)
        family |= {n for of in before for n in edges.get(of, ())}
    expected = {n: {of for of in family if n in edges.get(of, ())} for n in family - set(asked)}
    assert {n: set(of) for n, of in found(relatives).items()} == expected
    assert all(len(set(of)) == len(of) for of in relatives.parents.values())


@given(GRAPHS, st.lists(st.integers(0, 6), max_size=3))
@settings(max_examples=settings().max_examples // 3)
def test_relatives_are_found_in_the_same_order_by_a_redelivery(edges: dict[int, list[int]], lives: list[int]) -> None:
    """The order of relatives decides the chunks, so it must not depend on where an invocation ended."""
    edges = {of * 100 + 7: [n * 100 + m for n in numbers for m in range(30)] for of, numbers in edges.items()}
    ids = by_digest(*edges)
    expected = find(Families(graph(*edges.items())), *ids)
    memory = StepMemory()
    for survives in [*lives, None]:
        with suppress(KilledError):
            again = find(
                Families(graph(*edges.items()), at_most=20), *ids, steps=MemorySteps(memory, survives=survives)
            )
            assert list(again.parents.items()) == list(expected.parents.items())
