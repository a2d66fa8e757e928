"""What belongs to an image, against a plain model of a repository: whatever refers to what, and whatever is asked.

The model refuses what an index names, as ECR does; what must go and what may stay is told from the repository alone.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import replace
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import deletion, guards
from handler.deletion import Step, StepPool, Taken, carry_out
from handler.models import ChunkOutcome, DeletionReport, DeletionRequest, Guard, ImageId, Json, Origin, Relatives
from handler.registry import delete_images, find_relatives
from tests.model_ecr import Images, ModelEcr

LOG = logging.LoggerAdapter(logging.getLogger("test"), {})
DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]
TAGS = ["prod", "v1", "v2"]
RULES = guards.Rules(protected_tags=("prod",))
ORIGIN = Origin("message", "m-1", "queue")
CHUNK = 2
"""Ids to a call, so that few ids make many calls."""

NOT_FOUND = {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}


@dataclass
class Ecr(ModelEcr):
    """A repository whose indexes need what they name."""

    children: Mapping[str, AbstractSet[str]]
    """What each index names."""
    subjects: Mapping[str, str]
    """What each signature refers to."""
    locked: AbstractSet[str] = frozenset()
    """Images whose manifests cannot be read."""

    def find(self, image_id: Mapping[str, object]) -> str | None:
        """The image that an id names, with both names by the tag of that very image."""
        tag, digest = image_id.get("imageTag"), image_id.get("imageDigest")
        return next((d for d, tags in self.images.items() if digest in (None, d) and (not tag or tag in tags)), None)

    def batch_get_image(self, **call: Any) -> Json:
        answer: Json = {"images": [], "failures": []}
        for image_id in call["imageIds"]:
            if (digest := self.find(image_id)) in self.locked:
                answer["failures"].append({"imageId": image_id, "failureCode": "KmsError"})
            elif digest:
                manifest: Json = {"manifests": [{"digest": child} for child in sorted(self.children.get(digest, ()))]}
                if subject := self.subjects.get(digest):
                    manifest["subject"] = {"digest": subject}
                found = {"imageId": image_id | {"imageDigest": digest}, "imageManifest": json.dumps(manifest)}
                answer["images"].append(found)
            else:
                answer["failures"].append({"imageId": image_id, **NOT_FOUND})
        return answer

    def list_image_referrers(self, **call: Any) -> Json:
        subject = call["subjectId"]["imageDigest"]
        return {"referrers": [{"digest": d} for d, of in self.subjects.items() if of == subject and d in self.images]}

    def batch_delete_image(self, **call: Any) -> Json:
        referenced = {child for index in self.images for child in self.children.get(index, ())}
        answer: Json = {"imageIds": [], "failures": []}
        for image_id in call["imageIds"]:
            digest = self.find(image_id)
            tags = {image_id["imageTag"]} if "imageTag" in image_id else set(self.images.get(str(digest), ()))
            if digest is None:
                answer["failures"].append({"imageId": image_id, **NOT_FOUND})
            elif tags == self.images[digest] and digest in referenced:
                answer["failures"].append({"imageId": image_id, "failureCode": "ImageReferencedByManifestList"})
            else:
                answer["imageIds"] += [{"imageDigest": digest, "imageTag": tag} for tag in sorted(tags)] or [image_id]
                self.images[digest] -= tags
                if not self.images[digest]:
                    del self.images[digest]
        return answer

    def users(self, digest: str) -> set[str]:
        """What is there and refers to an image: indexes that name it, and its subject."""
        return {d for d in self.images if digest in self.children.get(d, ()) or self.subjects.get(digest) == d}

    def relatives(self, digests: AbstractSet[str]) -> set[str]:
        """What belongs to these images, and in turn to that."""
        found, before = set(digests), set[str]()
        while found != before:
            before = set(found)
            found |= {digest for digest in self.images if self.users(digest) & found}
        return found - digests

    def copied(self) -> "Ecr":
        """The same repository, for another to change."""
        return replace(self, images={digest: set(tags) for digest, tags in self.images.items()})


class OneByOne(StepPool):
    """Runs the steps of a request one after the other."""

    def __init__(self) -> None:
        """No executor, no clock: it is the model that matters."""

    def run[T](self, steps: Sequence[Step[T]], width: int | None = None) -> list[T]:
        del width
        return [step(lambda: None) for step in steps]


def carried_out(ecr: Any, request: DeletionRequest, *, chunk: int = CHUNK) -> DeletionReport:
    """The report of a request, whose calls are made one after the other."""

    def delete(guard: Guard, _name: str, image_ids: Sequence[ImageId], _delay: float, _taken: Taken) -> ChunkOutcome:
        return delete_images(ecr, request, image_ids, guard, begun=None)

    def find(_name: str, image_ids: Sequence[ImageId], _taken: Taken) -> Relatives:
        return find_relatives(ecr, request, image_ids)

    def delete_relatives(relatives: Relatives, gone: AbstractSet[ImageId]) -> deletion.DeleteChunk:
        return partial(delete, partial(guards.verdicts_on_relatives, request, relatives, gone))

    with mock.patch.multiple(deletion, CHUNK_SIZE=chunk, _FAMILIES=chunk):
        cascade = deletion.Cascade(1_000, find, delete_relatives)
        return carry_out(request, partial(delete, partial(guards.verdicts, RULES, request)), OneByOne(), LOG, cascade)


@st.composite
def families(draw: st.DrawFn) -> Ecr:
    """Images, indexes of later ones, and signatures of earlier ones; few have tags."""
    digests = draw(st.lists(st.sampled_from(DIGESTS), min_size=2, unique=True).map(sorted))
    images: Images = {digest: set() for digest in digests}
    for tag in TAGS:
        if digest := draw(st.sampled_from([None, *digests])):
            images[digest].add(tag)
    later = {digest: digests[number:] for number, digest in enumerate(digests, 1)}
    children = {digest: draw(st.sets(st.sampled_from(of), max_size=3)) for digest, of in later.items() if of}
    signed = draw(st.dictionaries(st.sampled_from(digests), st.sampled_from(digests), max_size=2))
    return Ecr(images, children, {digest: subject for digest, subject in signed.items() if subject < digest})


REQUESTS = st.builds(
    partial(DeletionRequest, "r-1", "team/app", origin=ORIGIN, content_hash="hash"),
    image_ids=st.lists(
        st.sampled_from([*map(ImageId, DIGESTS), *(ImageId(tag=tag) for tag in TAGS)]),
        min_size=1,
        max_size=4,
        unique=True,
    ).map(tuple),
    cascade=st.booleans(),
)


def named(ecr: Ecr, request: DeletionRequest) -> set[str]:
    """The images that the ids of a request name."""
    return {digest for image_id in request.image_ids if (digest := ecr.find(image_id.to_json()))}


@given(families(), REQUESTS)
def test_what_belongs_to_an_image_goes_unless_it_is_needed(before: Ecr, request: DeletionRequest) -> None:
    """Only what has no tag, and nothing left refers to; all of that with cascade, and without it is counted.

    What carries a protected tag stays, named or not, whatever goes around it.
    """
    after = before.copied()
    report = carried_out(after, request)
    asked = named(before, request)
    relatives = before.relatives(asked) - asked
    gone = before.images.keys() - after.images.keys()
    assert gone <= asked | (relatives if request.cascade else set())
    assert not [digest for digest in gone - asked if before.images[digest] or after.users(digest)]
    family = asked | relatives  # an index beside these is seen by ECR alone
    users = {d: after.users(d) & (family | {after.subjects.get(d, "")}) for d in relatives & after.images.keys()}
    left = {d for d, of in users.items() if not (after.images[d] or of)}
    if request.cascade:
        assert not [digest for digest in left if not after.users(digest)]
    assert report.left_untagged == (0 if request.cascade else len(left))
    assert {str(image_id.digest) for image_id in report.image_ids} >= gone
    assert not [digest for digest in gone if "prod" in before.images[digest]]


@given(families(), REQUESTS)
def test_what_is_kept_is_told_once_and_why(before: Ecr, request: DeletionRequest) -> None:
    """Under the code of what holds in the end; it is no failure, and the failures are of ids that were asked for."""
    after = before.copied()
    report = carried_out(after, request)
    relatives = before.relatives(named(before, request))
    kept = {str(kept.image_id.digest): kept.code for kept in report.kept}
    assert len(kept) == len(report.kept)
    for digest, code in kept.items():
        assert digest in relatives | named(before, request)
        assert after.images[digest] if code == "StillTagged" else after.users(digest)
    assert relatives & after.images.keys() <= kept.keys() | named(before, request) or not request.cascade
    assert {failure.image_id for failure in report.failures} <= set(request.image_ids)
    assert report.failed_relatives == 0


@given(families(), REQUESTS)
def test_an_image_that_is_named_is_refused_only_for_an_index_that_stays(before: Ecr, request: DeletionRequest) -> None:
    """To name what would have gone along does not keep it."""
    after = before.copied()
    for failure in carried_out(after, replace(request, cascade=True)).failures:
        if failure.code == "ImageReferencedByManifestList":
            assert after.users(str(after.find(failure.image_id.to_json())))


@given(families(), REQUESTS)
def test_a_dry_run_of_a_cascade_foresees_all_that_goes(before: Ecr, request: DeletionRequest) -> None:
    """It changes nothing, and the real one takes no more: less, where an index names an image, as only ECR knows."""
    after = before.copied()
    dry = carried_out(after, replace(request, dry_run=True), chunk=100)
    assert after == before
    real = carried_out(after, request, chunk=100)
    assert set(real.image_ids) <= set(dry.image_ids)
    if not any(before.children.values()):
        assert replace(dry, request=request) == real


def test_a_dry_run_tells_nothing_as_kept_whose_tag_is_named_too() -> None:
    """A signature is named by its tag, beside its subject: it would be gone before its turn as a relative."""
    subject, signature = DIGESTS[:2]
    ecr = Ecr({subject: set(), signature: {"v2"}}, {}, {signature: subject})
    report = carried_out(ecr, replace(asking(ImageId(tag="v2"), ImageId(subject)), dry_run=True))
    assert (report.deleted, report.failures, report.kept) == (2, (), ())


def test_a_signature_stays_with_an_image_that_stays() -> None:
    """An index named it, and went; its subject is no relative of that index."""
    subject, index, signature = DIGESTS[:3]
    ecr = Ecr({subject: set(), index: {"v1"}, signature: set()}, {index: {signature}}, {signature: subject})
    report = carried_out(ecr, asking(ImageId(tag="v1")))
    assert ecr.images.keys() == {subject, signature}
    assert [(kept.image_id, kept.code) for kept in report.kept] == [(ImageId(signature), "StillUsed")]


def test_relatives_and_what_is_named_go_in_turn() -> None:
    """An index takes a relative with it, that frees what is named, and that again a relative: all of it goes."""
    index, between, named_too, signature = DIGESTS[:4]
    images: Images = {digest: set() for digest in DIGESTS[:4]}
    ecr = Ecr(images, {index: {between}, between: {named_too}}, {signature: named_too})
    report = carried_out(ecr, asking(ImageId(index), ImageId(named_too)))
    assert (ecr.images, report.failures, report.kept) == ({}, (), ())


def test_what_went_after_all_is_not_told_as_kept() -> None:
    """Its tag was named, too: it could go only once the index between had gone."""
    index, between, child = DIGESTS[:3]
    images: Images = {index: set(), between: set(), child: {"v1"}}
    ecr = Ecr(images, {index: {between}, between: {child}}, {})
    report = carried_out(ecr, asking(ImageId(index), ImageId(tag="v1")))
    assert (ecr.images, report.failures, report.kept) == ({}, (), ())


@pytest.mark.parametrize("tags", [set(), {"v2"}])
def test_a_relative_that_cannot_be_read_stays(tags: set[str]) -> None:
    """What belongs to it is not known: it is a failure, though nothing that is left refers to it."""
    index, locked, other = DIGESTS[:3]
    ecr = Ecr({index: {"v1"}, locked: set(tags), other: set()}, {index: {locked, other}}, {}, frozenset({locked}))
    report = carried_out(ecr, asking(ImageId(tag="v1")))
    assert ecr.images == {locked: tags}
    assert [(failure.image_id, failure.code) for failure in report.failures] == [(ImageId(locked), "KmsError")]
    assert (report.failed_relatives, report.asked, report.deleted) == (1, 2, 1)


def test_an_image_that_cannot_be_read_stays_with_what_belongs_to_it() -> None:
    """It was named, but is not deleted on doubt, neither at once nor when what can be deleted is gone."""
    other, locked, child = DIGESTS[:3]
    ecr = Ecr({other: set(), locked: {"v1"}, child: set()}, {locked: {child}}, {}, frozenset({locked}))
    report = carried_out(ecr, asking(ImageId(tag="v1"), ImageId(other)))
    assert ecr.images == {locked: {"v1"}, child: set()}
    assert [(failure.image_id, failure.code) for failure in report.failures] == [(ImageId(tag="v1"), "KmsError")]


def asking(*image_ids: ImageId) -> DeletionRequest:
    """A request for these images and what belongs to them."""
    return DeletionRequest("r-1", "team/app", image_ids, ORIGIN, "hash", cascade=True)
