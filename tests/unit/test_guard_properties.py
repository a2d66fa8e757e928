"""Guards against a plain model of a repository: whatever it holds, and whatever is asked of it.

An oracle of its own says what is protected, and what a refusal may be for; it shares no line with the guards.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import replace
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier, BrokenBarrierError
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from handler import deletion, guards
from handler.deletion import Step, StepPool, Taken, carry_out
from handler.models import (
    ChunkOutcome,
    DeletionReport,
    DeletionRequest,
    ImageFailure,
    ImageId,
    Json,
    LookUp,
    Origin,
    names,
)
from handler.registry import delete_images
from tests.model_ecr import Images, ModelEcr

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})
DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]
TAGS = ["prod", "prod-1", "pre-prod", "v1", "v1-lts", "v2", "latest"]
PATTERNS = ["prod", "prod*", "*-lts", "v*1", "*prod*", "latest", "*"]
CHUNK = 2
"""Ids to a call, so that few ids make many calls."""

type Case = tuple[Images, guards.Rules, DeletionRequest]


@dataclass
class Ecr(ModelEcr):
    """An ECR that is as careless as its API allows: a digest takes the image, whatever tag stands beside it."""

    gone: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Each image that went, with the tags that it had when the call began."""
    taken: list[tuple[str, str]] = field(default_factory=list)
    """Each tag that went, with the digest of its image."""

    def find(self, image_id: Mapping[str, Any]) -> str | None:
        tag, digest = image_id.get("imageTag"), image_id.get("imageDigest")
        if digest:
            return digest if digest in self.images else None
        return next((found for found, tags in self.images.items() if tag in tags), None)

    def batch_get_image(self, **call: Any) -> Json:
        found = [(image_id, self.find(image_id)) for image_id in call["imageIds"]]
        return {
            "images": [{"imageId": image_id | {"imageDigest": digest}} for image_id, digest in found if digest],
            "failures": [{"imageId": i, "failureCode": "ImageNotFound"} for i, digest in found if not digest],
        }

    def batch_delete_image(self, **call: Any) -> Json:
        before = {digest: frozenset(tags) for digest, tags in self.images.items()}
        gone: list[Json] = []
        failures: list[Json] = []
        for image_id in call["imageIds"]:
            if (digest := self.find(image_id)) is None:
                failures.append({"imageId": image_id, "failureCode": "ImageNotFound"})
                continue
            tags = set(self.images[digest]) if "imageDigest" in image_id else {image_id["imageTag"]}
            self.images[digest] -= tags
            self.taken += [(digest, tag) for tag in tags]
            gone += [{"imageDigest": digest, "imageTag": tag} for tag in tags] or [{"imageDigest": digest}]
            if not self.images[digest]:
                del self.images[digest]
                self.gone.append((digest, before[digest]))
        return {"imageIds": gone, "failures": failures}


class OneByOne(StepPool):
    """Runs the steps of a request one after the other."""

    def __init__(self) -> None:
        """No executor, no clock: it is the model that matters."""

    def run[T](self, steps: Sequence[Step[T]], width: int | None = None) -> list[T]:
        del width
        return [step(lambda: None) for step in steps]


def carried_out(
    ecr: Ecr,
    rules: guards.Rules,
    request: DeletionRequest,
    *,
    chunk: int = CHUNK,
    between: Callable[[], None] = lambda: None,
) -> DeletionReport:
    """The report of a request; before each of its steps, something else may happen to the repository."""

    def delete(_name: str, image_ids: Sequence[ImageId], _delay: float, taken: Taken) -> ChunkOutcome:
        taken()
        between()
        guard = partial(guards.verdicts, rules, request)
        return delete_images(ecr, request, image_ids, guard, begun=None)  # type: ignore[arg-type]  # what it uses of one

    with mock.patch.object(deletion, "CHUNK_SIZE", chunk):
        return carry_out(request, delete, OneByOne(), LOG)


RULES = st.builds(
    guards.Rules,
    protected_tags=st.just(()) | st.lists(st.sampled_from(PATTERNS), max_size=2, unique=True).map(tuple),
    protected_repositories=st.sampled_from([(), (), (), ("team/*",), ("other", "*pp"), ("app",)]),
)


def requests(images: Images) -> st.SearchStrategy[DeletionRequest]:
    """Any ids, but mostly such as name something: by tag, by digest and by both."""
    pairs = [(digest, tag) for digest, tags in images.items() for tag in sorted(tags)]
    good = [ImageId(*pair) for pair in pairs] + [ImageId(tag=tag) for _, tag in pairs] + [*map(ImageId, images)]
    anything = st.builds(ImageId, st.none() | st.sampled_from(DIGESTS), st.none() | st.sampled_from(TAGS))
    ids = st.sampled_from(good) | anything if good else anything
    return st.builds(
        partial(DeletionRequest, "r-1", "team/app", origin=Origin("message", "m-1", "queue"), content_hash="hash"),
        image_ids=st.lists(ids, min_size=1, max_size=10, unique=True).map(tuple),
        untag=st.booleans(),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Images with no tag, one, or several, where each tag names one image or none; what is protected; and a request."""
    images: Images = {digest: set() for digest in draw(st.lists(st.sampled_from(DIGESTS), max_size=3, unique=True))}
    if images:
        for tag in TAGS:
            if digest := draw(st.sampled_from([None, *images])):
                images[digest].add(tag)
    return images, draw(RULES), draw(requests(images))


def copied(images: Images) -> Images:
    """The same images, for another to change."""
    return {digest: set(tags) for digest, tags in images.items()}


def protected(rules: guards.Rules, name: str, *, repository: bool = False) -> bool:
    """What a glob pattern means, in the words of regular expressions."""
    patterns = rules.protected_repositories if repository else rules.protected_tags
    return any(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) for pattern in patterns)


def there(images: Images, image_id: ImageId) -> bool:
    """Whether an id names something: with both names, whether the tag is that image's."""
    return any(
        image_id.digest in (None, digest) and (image_id.tag is None or image_id.tag in tags)
        for digest, tags in images.items()
    )


def tags_around(images: Images, image_id: ImageId) -> set[str]:
    """The tags of the image that an id names, and its own."""
    around = {tag for digest, tags in images.items() if image_id.digest == digest for tag in tags}
    return around | ({image_id.tag} if image_id.tag else set())


def justified(code: str, image_id: ImageId, rules: guards.Rules, before: Images, after: Images) -> bool:
    """Whether a refusal is for what really holds: no guard refuses more than it is for."""
    holds = {
        "MissingDigestAndTag": image_id == ImageId(),
        "ProtectedRepository": protected(rules, "team/app", repository=True),
        "ProtectedTag": any(protected(rules, tag) for tag in tags_around(before, image_id)),
        "TagRequired": image_id.tag is None,
        "LastTag": {image_id.tag} in after.values(),
        "ImageTagDoesNotMatchDigest": there(before, ImageId(tag=image_id.tag)) and not there(before, image_id),
        "ImageNotFound": not there(before, image_id),
    }
    return holds[code]


@given(cases())
def test_what_is_protected_stays(case: Case) -> None:
    """Nothing goes with a protected tag, and nothing at all from a protected repository; to untag takes no image."""
    images, rules, request = case
    ecr = Ecr(copied(images))
    carried_out(ecr, rules, request)
    # Not lost by any call, and not lost in the end.
    assert not [tags for _, tags in ecr.gone if any(protected(rules, tag) for tag in tags)]
    for digest, tags in images.items():
        if kept := {tag for tag in tags if protected(rules, tag)}:
            assert kept <= ecr.images[digest]
    if protected(rules, request.repository_name, repository=True):
        assert ecr.images == images
    if request.untag:
        assert ecr.images.keys() == images.keys()
        assert not [digest for digest, tags in images.items() if tags and not ecr.images[digest]]


@given(cases())
def test_each_id_has_one_fate(case: Case) -> None:
    """It named something and is gone, or is refused for a reason that holds; and the report tells of all that went."""
    images, rules, request = case
    ecr = Ecr(copied(images))
    report = carried_out(ecr, rules, request)
    refused = [failure.image_id for failure in report.failures]
    assert refused == [image_id for image_id in request.image_ids if image_id in set(refused)]
    for image_id in request.image_ids:
        if image_id not in refused:
            assert there(images, image_id)
            assert not there(ecr.images, image_id)
            assert image_id in names(report.image_ids)
    for failure in report.failures:
        assert justified(failure.code, failure.image_id, rules, images, ecr.images), failure
    lost: set[tuple[str, str | None]] = {
        (digest, tag) for digest, tags in images.items() for tag in tags - ecr.images.get(digest, set())
    }
    lost |= {(digest, None) for digest, tags in images.items() if not tags and digest not in ecr.images}
    assert lost == set(report.image_ids)


@given(cases(), st.data())
def test_a_tag_that_moves_in_between_is_not_followed(case: Case, data: st.DataObject) -> None:
    """What goes by digest and tag carried that tag as it went; and what gains a protected tag in between stays."""
    images, rules, request = case
    ecr = Ecr(copied(images))
    moves = st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(DIGESTS)), max_size=2)

    def push() -> None:
        for tag, digest in data.draw(moves):
            for tags in ecr.images.values():
                tags.discard(tag)
            ecr.images.setdefault(digest, set()).add(tag)

    request = replace(request, image_ids=tuple(i for i in request.image_ids if i.digest and i.tag) or request.image_ids)
    report = carried_out(ecr, rules, request, between=push)
    assert not [tags for _, tags in ecr.gone if any(protected(rules, tag) for tag in tags)]
    assert not [tag for _, tag in ecr.taken if protected(rules, tag)]
    refused = {failure.image_id for failure in report.failures}
    for image_id in set(request.image_ids) - refused:
        if image_id.digest and image_id.tag:
            assert (image_id.digest, image_id.tag) in ecr.taken
    if all(image_id.digest and image_id.tag for image_id in request.image_ids):
        # Nothing goes but an image that an id names by a tag it has.
        assert {digest for digest, _ in ecr.taken} <= {i.digest for i in set(request.image_ids) - refused}


@given(cases())
def test_a_dry_run_changes_nothing_and_foresees_the_refusals(case: Case) -> None:
    """It deletes nothing; and of what fits one call, it refuses just what the real request refuses."""
    images, rules, request = case
    dry_run = replace(request, dry_run=True)
    ecr = Ecr(copied(images))
    carried_out(ecr, rules, dry_run)
    dry = carried_out(ecr, rules, dry_run, chunk=100)
    assert ecr.images == images
    assert not ecr.taken
    real = carried_out(ecr, rules, request, chunk=100)
    assert [(f.image_id, f.code) for f in dry.failures] == [(f.image_id, f.code) for f in real.failures]


def test_the_calls_of_an_untag_go_one_after_the_other() -> None:
    """Tags of one image would each see the other left, and the image would go with the last of them."""
    images: Images = {DIGESTS[0]: {"v1", "v2"}}
    ecr, looks = Ecr(images), Barrier(2)

    def delete(_name: str, image_ids: Sequence[ImageId], _delay: float, taken: Taken) -> ChunkOutcome:
        def guard(ids: Sequence[ImageId], look: LookUp) -> Mapping[ImageId, ImageFailure]:
            refused = guards.verdicts(guards.Rules(), request, ids, look)
            with suppress(BrokenBarrierError):
                looks.wait(0.05)  # for another that has looked as well
            return refused

        taken()
        return delete_images(ecr, request, image_ids, guard, begun=None)  # type: ignore[arg-type]  # what it uses of one

    ids = (ImageId(tag="v1"), ImageId(tag="v2"))
    request = DeletionRequest("r-1", "team/app", ids, Origin("message", "m-1", "queue"), "hash", untag=True)
    with mock.patch.object(deletion, "CHUNK_SIZE", 1), ThreadPoolExecutor(2) as threads:
        report = carry_out(request, delete, StepPool(threads, 2, lambda: 60.0), LOG)
    assert images == {DIGESTS[0]: {"v2"}}
    assert [(f.image_id.tag, f.code) for f in report.failures] == [("v2", "LastTag")]
