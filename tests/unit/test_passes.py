"""The passes: parents before children, and troubles that pass, against an ECR in plain Python."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.deletion import StepPool, Taken, carry_out
from handler.models import ChunkOutcome, DeletionReport, DeletionRequest, ImageFailure, ImageId, Origin, names

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})


class Repository:
    """Images as ECR keeps them: tags, indexes and their children, and troubles that pass."""

    def __init__(self, **tags: Sequence[str]) -> None:
        """The tags of each image, by its digest."""
        self.tags = {digest_of(name): list(names_) for name, names_ in tags.items()}
        self.children: dict[str, set[str]] = {}
        self.troubles: dict[ImageId, list[str]] = {}
        self.calls: list[tuple[str, tuple[ImageId, ...], float]] = []

    def __contains__(self, image_id: ImageId) -> bool:
        return image_id.digest in self.tags or any(image_id.tag in tags for tags in self.tags.values())

    def index(self, parent: str, *children: str) -> None:
        """Makes an image an index of others."""
        self.children[digest_of(parent)] = {digest_of(child) for child in children}

    def delete(self, name: str, image_ids: Sequence[ImageId], delay: float, taken: Taken) -> ChunkOutcome:
        """One call of BatchDeleteImage."""
        taken()
        self.calls.append((name, tuple(image_ids), delay))
        referenced = {child for parent in self.tags for child in self.children.get(parent, ())}
        gone: list[ImageId] = []
        failures: list[ImageFailure] = []
        for image_id in image_ids:
            if code := self._refusal(image_id, referenced):
                failures.append(ImageFailure(image_id, code, "why"))
            else:
                gone += self._remove(image_id)
        # An id that another of the same call took along was there when the call began.
        failures = [f for f in failures if not (f.code == "ImageNotFound" and f.image_id in names(gone))]
        return ChunkOutcome(tuple(gone), tuple(failures))

    def _refusal(self, image_id: ImageId, referenced: set[str]) -> str | None:
        if self.troubles.get(image_id):
            return self.troubles[image_id].pop(0)
        digest = image_id.digest or next((d for d, tags in self.tags.items() if image_id.tag in tags), None)
        if digest not in self.tags:
            return "ImageNotFound"
        keeps_a_tag = image_id.digest is None and len(self.tags[digest]) > 1
        return "ImageReferencedByManifestList" if digest in referenced and not keeps_a_tag else None

    def _remove(self, image_id: ImageId) -> list[ImageId]:
        if image_id.digest is not None:
            tags = self.tags.pop(image_id.digest)
            return [ImageId(image_id.digest, tag) for tag in tags] or [image_id]
        digest = next(digest for digest, tags in self.tags.items() if image_id.tag in tags)
        self.tags[digest].remove(str(image_id.tag))
        if not self.tags[digest]:
            del self.tags[digest]
        return [ImageId(digest, image_id.tag)]


def digest_of(name: str) -> str:
    """A digest for a name made of hex digits."""
    return f"sha256:{name.lower():0>64}"


def by_digest(*image_names: str) -> tuple[ImageId, ...]:
    """Ids of images by their digests."""
    return tuple(ImageId(digest_of(name)) for name in image_names)


def by_tag(*tags: str) -> tuple[ImageId, ...]:
    """Ids of images by their tags."""
    return tuple(ImageId(tag=tag) for tag in tags)


def run(repository: Repository, *image_ids: ImageId) -> DeletionReport:
    """Carries out a request for these ids, its calls one after the other."""
    request = DeletionRequest("r-1", "app", image_ids, Origin("message", "m-1", "queue"), "hash")
    with ThreadPoolExecutor(1) as executor:
        return carry_out(request, repository.delete, StepPool(executor, 1, lambda: 60.0), LOG)


def failed(report: DeletionReport) -> dict[str, str]:
    """The code of each failure, by its id."""
    return {str(failure.image_id): failure.code for failure in report.failures}


def test_an_index_goes_before_its_children() -> None:
    """Children first, or a nested index between: what ECR refuses for its parent's sake is asked again."""
    repository = Repository(a=["index"], b=[], c=[], d=[])
    repository.index("a", "b", "c")
    repository.index("b", "d")
    report = run(repository, *by_digest("d", "c", "b", "a"))
    assert [(name, image_ids) for name, image_ids, _ in repository.calls] == [
        ("0/0", by_digest("d", "c", "b", "a")),
        ("1/0", by_digest("d", "c", "b")),
        ("2/0", by_digest("d")),
    ]
    assert (report.failures, repository.tags) == ((), {})
    assert report.image_ids == (ImageId(digest_of("a"), "index"), *by_digest("c", "b", "d"))


def test_a_child_of_an_index_that_stays_is_refused_and_told() -> None:
    """Once asked again, as something else went; never twice without progress."""
    repository = Repository(a=["index"], b=[], c=["v1"])
    repository.index("a", "b")
    report = run(repository, *by_digest("b"), *by_tag("v1"))
    assert failed(report) == {f"imageDigest={digest_of('b')}": "ImageReferencedByManifestList"}
    assert [image_ids for _, image_ids, _ in repository.calls] == [(*by_digest("b"), *by_tag("v1")), by_digest("b")]


def test_passes_stop_when_nothing_was_deleted() -> None:
    """Asking again would only repeat the answer."""
    repository = Repository(a=["index"], b=[])
    repository.index("a", "b")
    report = run(repository, *by_digest("b"), *by_tag("missing"))
    assert failed(report) == {
        f"imageDigest={digest_of('b')}": "ImageReferencedByManifestList",
        "imageTag=missing": "ImageNotFound",
    }
    assert len(repository.calls) == 1


@pytest.mark.parametrize("code", ["UpstreamTooManyRequests", "UpstreamUnavailable", "KmsError"])
@pytest.mark.parametrize(("troubles", "delays"), [(1, [0, 1]), (2, [0, 1, 2]), (3, [0, 1, 2, 4]), (4, [0, 1, 2, 4])])
def test_a_trouble_that_passes_is_tried_again(code: str, troubles: int, delays: list[float]) -> None:
    """Four times at most, each after twice the time, which the step waits; then it is a failure."""
    repository = Repository(a=["v1"], b=["v2"])
    repository.troubles[ImageId(tag="v1")] = [code] * troubles
    report = run(repository, *by_tag("v1", "v2"))
    assert [delay for _, _, delay in repository.calls] == delays
    assert [image_ids for _, image_ids, _ in repository.calls[1:]] == [by_tag("v1")] * (len(delays) - 1)
    assert failed(report) == ({"imageTag=v1": code} if troubles == 4 else {})


def test_only_troubles_use_up_the_tries() -> None:
    """An id that was blocked in four passes is still tried again at its first passing trouble."""
    repository = Repository(a=["index"], b=[], c=[], d=[], e=[])
    for parent, child in ("ab", "bc", "cd", "de"):
        repository.index(parent, child)
    delete = repository.delete

    def trouble_at_last(name: str, image_ids: Sequence[ImageId], delay: float, taken: Taken) -> ChunkOutcome:
        if name == "4/0":
            repository.troubles[by_digest("e")[0]] = ["KmsError"]
        return delete(name, image_ids, delay, taken)

    repository.delete = trouble_at_last  # type: ignore[method-assign]
    assert run(repository, *by_digest("e", "d", "c", "b", "a")).failures == ()
    assert len(repository.calls) == 6


def test_other_codes_are_not_tried_again() -> None:
    """A code nobody knows yet is a failure as it stands."""
    repository = Repository(a=["v1", "v2"])
    repository.troubles = {ImageId(tag="v1"): ["UpstreamAccessDenied"], ImageId(tag="v2"): ["SomethingNew"]}
    report = run(repository, *by_tag("v1", "v2"))
    assert failed(report) == {"imageTag=v1": "UpstreamAccessDenied", "imageTag=v2": "SomethingNew"}
    assert len(repository.calls) == 1


def test_only_the_first_chunk_of_a_pass_waits() -> None:
    """It runs alone, so the others have waited with it."""
    tags = [f"v{n}" for n in range(150)]
    repository = Repository(a=tags)
    repository.troubles = {ImageId(tag=tag): ["KmsError"] for tag in tags}
    run(repository, *by_tag(*tags))
    assert [(name, delay) for name, _, delay in repository.calls] == [("0/0", 0), ("0/1", 0), ("1/0", 1), ("1/1", 0)]


def test_a_child_outlives_the_trouble_of_its_index() -> None:
    """Its index was in trouble, then deleted: now the child can be asked for again."""
    repository = Repository(a=["index"], b=[])
    repository.index("a", "b")
    repository.troubles[ImageId(digest_of("a"))] = ["UpstreamUnavailable"]
    report = run(repository, *by_digest("b", "a"))
    calls = [(image_ids, delay) for _, image_ids, delay in repository.calls]
    assert calls == [(by_digest("b", "a"), 0), (by_digest("a"), 1), (by_digest("b"), 0)]
    assert (report.failures, repository.tags) == ((), {})


@pytest.mark.parametrize("digest_first", [True, False])
def test_what_another_id_took_along_is_deleted(digest_first: bool) -> None:  # noqa: FBT001
    """By digest with all its tags, or with its last tag, also in another chunk: not found there, but gone."""
    filler = [f"v{n}" for n in range(100)]
    repository = Repository(a=["latest"], b=filler)
    ids = [*by_digest("a"), *by_tag("latest")]
    report = run(repository, ids[not digest_first], *by_tag(*filler), ids[digest_first])
    assert (report.deleted, report.failures) == (102, ())
    assert len(repository.calls) == 2


def test_what_nobody_took_along_was_never_there() -> None:
    """Not found stays a failure, beside any deletion."""
    report = run(Repository(a=["v1"]), *by_tag("v1", "v2"))
    assert failed(report) == {"imageTag=v2": "ImageNotFound"}


NAMES = "abcdef"
TREES = st.fixed_dictionaries(
    {n: st.sets(st.sampled_from(NAMES[i + 1 :] or "f"), max_size=2) for i, n in enumerate("abcde")}
)
TAGS = st.dictionaries(st.sampled_from("tuvwxyz"), st.sampled_from(NAMES))
ASKED = st.lists(
    st.sampled_from(NAMES).map(lambda name: ImageId(digest_of(name)))
    | st.sampled_from("stuvwxyz").map(lambda tag: ImageId(tag=tag)),
    unique=True,
)


@given(TREES, TAGS, ASKED)
def test_a_report_is_the_truth(trees: dict[str, set[str]], tags: dict[str, str], asked: list[ImageId]) -> None:
    """In any repository: what is told to be deleted was there and is gone, what failed is as it was told."""
    before = Repository(**{name: [tag for tag, image in tags.items() if image == name] for name in NAMES})
    for parent, children in trees.items():
        before.index(parent, *children)
    after = deepcopy(before)
    report = run(after, *asked)

    failures = failed(report)
    for image_id in asked:
        match failures.get(str(image_id)):
            case None:
                assert (image_id in before, image_id in after) == (True, False)
            case "ImageNotFound":
                assert image_id not in before
            case code:
                assert (code, image_id in after) == ("ImageReferencedByManifestList", True)

    # Nothing that was not asked for is deleted: neither a tag, nor an image with none.
    for digest, tags_of_it in before.tags.items():
        if ImageId(digest) not in asked:
            kept = {tag for tag in tags_of_it if ImageId(tag=tag) not in asked}
            assert kept <= set(after.tags.get(digest, ()))
            assert digest in after.tags or (tags_of_it and not kept)
