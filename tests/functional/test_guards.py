"""The guards: what is never deleted, however it is asked for, and what a request's own switches hold back."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import botocore.endpoint
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.retries.bucket import TokenBucket

from local.aws import EmbeddedAWS
from local.ecr import CorrectedECR
from local.images import push_image, push_index, push_referrer
from local.poller import FakeLambdaContext, Handler, Poller, load_function

type Json = dict[str, Any]
type Start = Callable[..., Handler]
type Look = tuple[str, int]
"""An operation of ECR's, and the ids it was asked for."""

REPOSITORY = "team/app"
MISSING = "sha256:" + "0" * 64
EVENTS = Path(__file__).resolve().parents[2] / "events"


@pytest.fixture
def start(aws: EmbeddedAWS) -> Iterator[Start]:
    """Starts the function, with variables as the template would set them from its parameters."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)
    with mock.patch.dict(os.environ):
        yield lambda **variables: load_function(aws.environment | variables)


def push(aws: EmbeddedAWS, *tags: str) -> str:
    """Pushes an image with these tags and returns its digest."""
    return push_image(aws.client("ecr"), REPOSITORY, tags=tags)


def ask(function: Handler, *image_ids: Json | str, **switches: object) -> Json:
    """Sends a request by hand."""
    answer: Json = function(
        {"repositoryName": REPOSITORY, "imageIds": list(image_ids), **switches}, FakeLambdaContext()
    )
    return answer


def codes(answer: Json) -> list[str]:
    """The failure codes of an answer, in order."""
    return [failure["failureCode"] for failure in answer["failures"]]


def tags_left(aws: EmbeddedAWS) -> set[str]:
    """The tags the repository still has."""
    return {tag for _, tags in aws.images(REPOSITORY) for tag in tags}


def test_a_protected_tag_stays(aws: EmbeddedAWS, start: Start) -> None:
    """By that tag and by the digest of an image with several; its other tags may go, and other images too."""
    release = push(aws, "v1", "v2", "prod-eu")
    other = push(aws, "pr-1", "pr-2")
    function = start(PROTECTED_TAGS="latest,prod*")

    answer = ask(
        function, "imageTag=prod-eu", {"imageDigest": release}, f"imageDigest={release},imageTag=v1", "imageTag=v2",
        {"imageDigest": other},
    )  # fmt: skip

    assert codes(answer) == ["ProtectedTag"] * 3
    assert "ProtectedTags" in answer["failures"][0]["failureReason"]
    assert aws.images(REPOSITORY) == {(release, ("prod-eu", "v1"))}
    [notice] = aws.notices()
    assert notice.attributes["failureCodes"] == ["ProtectedTag"]


def test_a_missing_digest_does_not_hide_a_protected_one(aws: EmbeddedAWS, start: Start) -> None:
    """The look-up of the others does not fail with it, and what is not there is told as ECR would."""
    release, other = push(aws, "prod"), push(aws, "pr-1")
    answer = ask(start(PROTECTED_TAGS="prod"), *({"imageDigest": digest} for digest in (MISSING, release, other)))
    assert {f["imageId"]["imageDigest"]: f["failureCode"] for f in answer["failures"]} == {
        MISSING: "ImageNotFound",
        release: "ProtectedTag",
    }
    assert aws.images(REPOSITORY) == {(release, ("prod",))}


@pytest.mark.parametrize("pattern", [REPOSITORY, "team/*", "other,*/app"])
def test_a_protected_repository_stays(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json], pattern: str) -> None:
    """Nothing is asked of ECR."""
    push(aws, "v1")
    answer = ask(start(PROTECTED_REPOSITORIES=pattern), "imageTag=v1", {"imageDigest": MISSING})
    assert codes(answer) == ["ProtectedRepository"] * 2
    assert (ecr_calls, tags_left(aws)) == ([], {"v1"})


def test_another_repository_is_not_protected(aws: EmbeddedAWS, start: Start) -> None:
    """A pattern is matched against the whole name."""
    push(aws, "v1")
    assert codes(ask(start(PROTECTED_REPOSITORIES="team,app,*/app2"), "imageTag=v1")) == []
    assert tags_left(aws) == set()


def test_a_request_for_too_many_is_rejected_whole(aws: EmbeddedAWS, start: Start) -> None:
    """Nothing of it is deleted; as many as the cap go, and one that is named twice counts once."""
    for n in range(4):
        push(aws, f"v{n}")
    function = start(MAX_IMAGES_PER_REQUEST="3")
    with pytest.raises(Exception, match="must name at most 3 images, not 4"):
        ask(function, *(f"imageTag=v{n}" for n in range(4)))
    assert tags_left(aws) == {"v0", "v1", "v2", "v3"}
    assert codes(ask(function, *(f"imageTag=v{n}" for n in (0, 1, 2, 2)))) == []
    assert tags_left(aws) == {"v3"}


def test_a_dry_run_deletes_nothing(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]) -> None:
    """It tells what would go, in the shape of the real answer; by mail only where that is asked for."""
    release, other = push(aws, "prod"), push(aws, "pr-1", "pr-2")
    untagged = push(aws)
    ids: list[Json | str] = ["imageTag=pr-1", {"imageDigest": other}, {"imageDigest": release}, "imageTag=gone"]
    ids += [{"imageDigest": untagged}, f"imageDigest={release},imageTag=pr-2", {}]
    function = start(PROTECTED_TAGS="prod")
    before = aws.images(REPOSITORY)

    answer = ask(function, *ids, dryRun=True)

    assert (aws.images(REPOSITORY), ecr_calls, aws.notices()) == (before, [], [])
    assert answer["dryRun"] is True
    assert codes(answer) == ["ProtectedTag", "ImageNotFound", "ImageTagDoesNotMatchDigest", "MissingDigestAndTag"]
    assert {(i["imageDigest"], i.get("imageTag")) for i in answer["imageIds"]} == {
        (other, "pr-1"),
        (other, "pr-2"),
        (untagged, None),
    }

    ask(function, *ids, dryRun=True, notify=True)
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["dryRun"]) == ("dryRun", True)
    assert notice.attributes["type"] == "dryRun"
    assert notice.data["imageIds"] == answer["imageIds"]
    assert notice.subject == "ECR image deletion: dry run: 3 of 7 would be deleted in team/app"
    assert "nothing was deleted" in notice.text

    real = ask(function, *ids)
    assert codes(real) == codes(answer)
    assert real["imageIds"] == answer["imageIds"]
    assert "dryRun" not in real


def test_a_dry_run_is_another_wish_than_the_real_one(aws: EmbeddedAWS, start: Start) -> None:
    """A requestId that a dry run used is not that of a deletion: nothing is deleted under it."""
    push(aws, "v1")
    function = start()
    ask(function, "imageTag=v1", dryRun=True, requestId="r-1")
    with pytest.raises(Exception, match="used before by a request that asked for something else"):
        ask(function, "imageTag=v1", requestId="r-1")
    assert tags_left(aws) == {"v1"}


def test_a_key_of_a_stack_that_only_tried_is_used(aws: EmbeddedAWS, start: Start) -> None:
    """Sent again once the stack is serious, under the same requestId, it is refused, and nothing is deleted."""
    push(aws, "v1")
    ask(start(DRY_RUN="true"), "imageTag=v1", requestId="r-1")
    with pytest.raises(Exception, match="used before by a request that asked for something else"):
        ask(start(DRY_RUN="false"), "imageTag=v1", requestId="r-1")
    assert tags_left(aws) == {"v1"}


def test_a_dry_run_delivered_twice_is_one(aws: EmbeddedAWS, start: Start) -> None:
    """Its answer is remembered as any other, and its notice is published once."""
    push(aws, "v1")
    function = start()
    first = ask(function, "imageTag=v1", dryRun=True, notify=True, requestId="r-1")
    aws.client("ecr").batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": "v1"}])
    assert ask(function, "imageTag=v1", dryRun=True, notify=True, requestId="r-1") == first
    assert len(aws.notices()) == 1


def test_a_stack_may_only_try_things_out(aws: EmbeddedAWS, start: Start) -> None:
    """Every request is a dry run then, whatever it says."""
    push(aws, "v1")
    function = start(DRY_RUN="true")
    assert ask(function, "imageTag=v1", dryRun=False)["dryRun"] is True
    assert tags_left(aws) == {"v1"}


def test_what_is_asked_for_by_tag_and_digest_is_compared(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]) -> None:
    """A tag that moved, or is gone, is refused without a call; one that did not is deleted."""
    old, new = push(aws, "v1", "moved"), push(aws, "moved", "other")
    answer = ask(
        start(), f"imageDigest={old},imageTag=moved", f"imageDigest={old},imageTag=gone",
        f"imageDigest={new},imageTag=moved",
    )  # fmt: skip
    assert codes(answer) == ["ImageTagDoesNotMatchDigest", "ImageNotFound"]
    assert answer["imageIds"] == [{"imageDigest": new, "imageTag": "moved"}]
    assert [len(call["imageIds"]) for call in ecr_calls] == [1]
    assert tags_left(aws) == {"v1", "other"}


def test_untag_never_takes_an_image(aws: EmbeddedAWS, start: Start) -> None:
    """The last tag is refused, also where the request itself removes the others; a digest is not a tag."""
    several, single = push(aws, "a", "b", "c"), push(aws, "d")
    answer = ask(start(), "imageTag=a", "imageTag=d", "imageTag=b", "imageTag=c", {"imageDigest": single}, untag=True)
    assert codes(answer) == ["LastTag", "LastTag", "TagRequired"]
    assert aws.images(REPOSITORY) == {(several, ("c",)), (single, ("d",))}


def test_untag_sends_the_tag_alone(aws: EmbeddedAWS, start: Start, ecr_calls: list[Json]) -> None:
    """With the digest beside it, ECR might take the image."""
    digest = push(aws, "a", "b")
    answer = ask(start(), f"imageDigest={digest},imageTag=a", untag=True)
    assert [call["imageIds"] for call in ecr_calls] == [[{"imageTag": "a"}]]
    assert (answer["failures"], answer["imageIds"]) == ([], [{"imageDigest": digest, "imageTag": "a"}])
    assert aws.images(REPOSITORY) == {(digest, ("b",))}


def test_untag_keeps_an_image_whose_tags_are_in_several_chunks(aws: EmbeddedAWS, start: Start) -> None:
    """They go one after another, for side by side each would see the others left."""
    tags = [f"v{n}" for n in range(150)]
    digest = push(aws, *tags)
    answer = ask(start(), *(f"imageTag={tag}" for tag in tags), untag=True)
    assert codes(answer) == ["LastTag"]
    assert aws.images(REPOSITORY) == {(digest, ("v149",))}


def family(aws: EmbeddedAWS) -> dict[str, str]:
    """A nested index with platform images, of which one has a tag and one is used by another index; and signatures."""
    ecr = aws.client("ecr")
    digests = {name: push(aws) for name in ("amd64", "arm64", "shared")}
    digests["tagged"] = push(aws, "keep-me")
    digests["index"] = push_index(ecr, REPOSITORY, list(digests.values()))
    digests["all"] = push_index(ecr, REPOSITORY, [digests["index"]], tags=["1.0"])
    digests["other"] = push_index(ecr, REPOSITORY, [digests["shared"]], tags=["2.0"])
    digests["signature"] = push_referrer(ecr, REPOSITORY, digests["all"])
    digests["signature of arm64"] = push_referrer(ecr, REPOSITORY, digests["arm64"])
    digests["signature of shared"] = push_referrer(ecr, REPOSITORY, digests["shared"])
    return digests


def test_cascade_takes_the_whole_image(aws: EmbeddedAWS, start: Start) -> None:
    """The nested index, its images and signatures go; what has a tag, or another index needs, is kept and told."""
    digests = family(aws)
    answer = ask(start(), "imageTag=1.0", cascade=True)

    assert answer["failures"] == []
    assert {i["imageDigest"] for i in answer["imageIds"]} == {
        digests[name] for name in ("all", "index", "amd64", "arm64", "signature", "signature of arm64")
    }
    assert {digest for digest, _ in aws.images(REPOSITORY)} == {
        digests[name] for name in ("other", "shared", "tagged", "signature of shared")
    }
    assert {kept["imageId"]["imageDigest"]: kept["code"] for kept in answer["kept"]} == {
        digests["tagged"]: "StillTagged",
        digests["shared"]: "ImageReferencedByManifestList",
        digests["signature of shared"]: "StillUsed",
    }
    assert aws.notices() == []


def test_a_dry_run_of_a_cascade_tells_the_same(aws: EmbeddedAWS, start: Start) -> None:
    """As far as a look can tell: that another index needs an image is known to ECR alone."""
    digests = family(aws)
    before = aws.images(REPOSITORY)
    answer = ask(start(), "imageTag=1.0", cascade=True, dryRun=True)
    assert aws.images(REPOSITORY) == before
    assert {digests[name] for name in ("all", "index", "amd64", "arm64", "signature", "signature of arm64")} <= {
        i["imageDigest"] for i in answer["imageIds"]
    }
    assert {kept["code"] for kept in answer["kept"]} == {"StillTagged"}


def test_an_index_that_stays_keeps_its_images(aws: EmbeddedAWS, start: Start) -> None:
    """With another tag left, only the tag goes."""
    ecr = aws.client("ecr")
    child = push(aws)
    index = push_index(ecr, REPOSITORY, [child], tags=["1.0", "stable"])
    signature = push_referrer(ecr, REPOSITORY, index)
    answer = ask(start(), "imageTag=1.0", cascade=True)
    assert {kept["code"] for kept in answer["kept"]} == {"StillUsed"}
    assert {digest for digest, _ in aws.images(REPOSITORY)} == {child, index, signature}


def test_what_another_index_names_is_not_told_as_left_behind(aws: EmbeddedAWS, start: Start) -> None:
    """That nothing refers to it would not be true: the other index still does."""
    shared = push(aws)
    for tag in ("1.0", "2.0"):
        push_index(aws.client("ecr"), REPOSITORY, [shared, push(aws)], tags=[tag])
    ask(start(), "imageTag=1.0", cascade=False, notify=True)
    [notice] = aws.notices()
    assert "2 images that nothing refers to any more" not in notice.text


def test_an_image_named_beside_its_nested_index_goes_with_it(aws: EmbeddedAWS, start: Start) -> None:
    """The index between them goes as a relative; then nothing holds what was named, and it goes, too."""
    child = push(aws)
    inner = push_index(aws.client("ecr"), REPOSITORY, [child])
    push_index(aws.client("ecr"), REPOSITORY, [inner], tags=["1.0"])
    answer = ask(start(), "imageTag=1.0", {"imageDigest": child}, cascade=True)
    assert (answer["failures"], aws.images(REPOSITORY)) == ([], set())


def test_without_cascade_the_report_says_how_many_are_left(aws: EmbeddedAWS, start: Start) -> None:
    """When the request says that they are to be left; otherwise nobody looks."""
    children = [push(aws), push(aws), push(aws, "tagged")]
    push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])
    function = start()
    answer = ask(function, "imageTag=1.0", cascade=False)
    assert answer["leftUntagged"] == 2
    assert {digest for digest, _ in aws.images(REPOSITORY)} == set(children)
    assert "leftUntagged" not in ask(function, {"imageDigest": children[0]})


def test_a_cascade_beyond_the_cap_is_rejected_before_anything_is_deleted(aws: EmbeddedAWS, start: Start) -> None:
    """What belongs to the images counts too."""
    children = [push(aws), push(aws)]
    push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])
    before = aws.images(REPOSITORY)
    with pytest.raises(Exception, match="with what belongs to them these are 3 images, and a request may delete 2"):
        ask(start(MAX_IMAGES_PER_REQUEST="2"), "imageTag=1.0", cascade=True)
    assert aws.images(REPOSITORY) == before
    assert codes(ask(start(MAX_IMAGES_PER_REQUEST="3"), "imageTag=1.0", cascade=True)) == []
    assert aws.images(REPOSITORY) == set()


def test_what_is_only_counted_is_not_capped(aws: EmbeddedAWS, start: Start) -> None:
    """Relatives that stay are no images that the request deletes."""
    children = [push(aws), push(aws)]
    push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])
    assert ask(start(MAX_IMAGES_PER_REQUEST="1"), "imageTag=1.0", cascade=False)["leftUntagged"] == 2
    assert {digest for digest, _ in aws.images(REPOSITORY)} == set(children)


def population(aws: EmbeddedAWS) -> dict[str, str]:
    """Images for each guard to refuse and to let go; their digests by name."""
    digests = {
        "release": push(aws, "prod", "v1"),
        "preview": push(aws, "pr-1"),
        "old": push(aws, "v0", "moved"),
        "new": push(aws, "moved"),
        "child": push(aws),
        "base": push(aws, "base-tag"),
    }
    children = [digests["child"], digests["base"]]
    return digests | {"index": push_index(aws.client("ecr"), REPOSITORY, children, tags=["1.0"])}


def state(aws: EmbeddedAWS, digests: Json) -> set[str]:
    """The tags that are there, and the names of the images."""
    names = {digest: name for name, digest in digests.items()}
    return {name for digest, tags in aws.images(REPOSITORY) for name in (names[digest], *tags)}


@dataclass(frozen=True)
class Case:
    """A request that a guard refuses in part."""

    image_ids: tuple[str, ...]
    """In shorthand, with digests by name in braces."""
    switches: Json
    variables: Json
    codes: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()
    """Tags, and names of images."""

    def request(self, digests: Json) -> Json:
        """As it is sent."""
        image_ids = [image_id.format_map(digests) for image_id in self.image_ids]
        return {"repositoryName": REPOSITORY, "imageIds": image_ids, **self.switches}


PREVIEW = frozenset({"preview", "pr-1"})
CASES = {
    "protected tag": Case(
        ("imageTag=prod", "imageDigest={release}", "imageTag=pr-1"),
        {},
        {"PROTECTED_TAGS": "latest,prod*"},
        ("ProtectedTag", "ProtectedTag"),
        PREVIEW,
    ),
    "protected repository": Case(
        ("imageTag=pr-1", "imageDigest={release}"),
        {},
        {"PROTECTED_REPOSITORIES": "team/*"},
        ("ProtectedRepository", "ProtectedRepository"),
    ),
    "untag": Case(
        ("imageTag=v1", "imageTag=pr-1", "imageDigest={old}"),
        {"untag": True},
        {},
        ("LastTag", "TagRequired"),
        frozenset({"v1"}),
    ),
    "tag and digest": Case(
        ("imageDigest={old},imageTag=moved", "imageDigest={preview},imageTag=pr-1"),
        {},
        {},
        ("ImageTagDoesNotMatchDigest",),
        PREVIEW,
    ),
    "cascade": Case(
        ("imageTag=1.0", "imageTag=gone"),
        {"cascade": True},
        {},
        ("ImageNotFound",),
        frozenset({"index", "1.0", "child"}),
    ),
    "all at once": Case(
        ("imageTag=1.0", "imageTag=prod", "imageDigest={old},imageTag=moved", "imageDigest={preview}"),
        {"cascade": True},
        {"PROTECTED_TAGS": "prod"},
        ("ProtectedTag", "ImageTagDoesNotMatchDigest"),
        frozenset({"index", "1.0", "child"}) | PREVIEW,
    ),
}


def enqueue(aws: EmbeddedAWS, body: Json) -> None:
    """Puts something on the queue."""
    aws.client("sqs").send_message(QueueUrl=aws.outputs["RequestQueueUrl"], MessageBody=json.dumps(body))


def envelope(request: Json) -> Json:
    """A request as EventBridge hands it over."""
    return json.loads((EVENTS / "eventbridge.json").read_text()) | {"detail": request}


def schedule(aws: EmbeddedAWS, request: Json) -> None:
    """Makes a request that of the schedule, which runs."""
    scheduler = aws.client("scheduler")
    there = scheduler.get_schedule(Name=aws.resources["RequestSchedule"])
    request |= {"requestId": "<aws.scheduler.schedule-arn>/<aws.scheduler.scheduled-time>"}
    kept = {key: there[key] for key in ("Name", "ScheduleExpression", "FlexibleTimeWindow")}
    scheduler.update_schedule(**kept, Target={**there["Target"], "Input": json.dumps(request)})
    aws.run_schedule()


def by_queue(put: Callable[[EmbeddedAWS, Json], None]) -> Callable[[EmbeddedAWS, Handler, Json], None]:
    """A way that leads over the queue."""

    def arrive(aws: EmbeddedAWS, function: Handler, request: Json) -> None:
        put(aws, request)
        Poller(aws, function).drain()

    return arrive


WAYS: dict[str, tuple[str, Callable[[EmbeddedAWS, Handler, Json], Json | None]]] = {
    "message": ("message", by_queue(enqueue)),
    "event on the queue": ("event", by_queue(lambda aws, request: enqueue(aws, envelope(request)))),
    "schedule": ("message", by_queue(schedule)),
    "event": ("event", lambda _, function, request: function(envelope(request), FakeLambdaContext())),
    "by hand": ("invocation", lambda _, function, request: function(request, FakeLambdaContext())),
}
"""How a request arrives: the kind of its origin, and what takes it to the function and returns the answer, if any."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [name for name in CASES if name != "all at once"])
def test_guards_hold_however_a_request_arrives(aws: EmbeddedAWS, start: Start, way: str, name: str) -> None:
    """The refused stays and is told in the notice and the answer; the rest is carried out, and no message is left."""
    case, (kind, arrive) = CASES[name], WAYS[way]
    digests = population(aws)
    before = state(aws, digests)

    answer = arrive(aws, start(**case.variables), case.request(digests))

    assert before - state(aws, digests) == case.gone
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("failure", kind)
    assert codes(notice.data) == list(case.codes)
    assert [k["code"] for k in notice.data.get("kept", [])] == ["StillTagged"] * ("cascade" in case.switches)
    assert answer is None or answer["failures"] == notice.data["failures"]
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


@pytest.mark.parametrize("way", WAYS)
def test_dry_runs_delete_nothing_however_they_arrive(aws: EmbeddedAWS, start: Start, way: str) -> None:
    """The notice that was asked for says so, and the answer too."""
    kind, arrive = WAYS[way]
    digests = population(aws)
    request = {"repositoryName": REPOSITORY, "imageIds": ["imageTag=pr-1", "imageTag=gone"]}

    answer = arrive(aws, start(), request | {"dryRun": True, "notify": True})

    assert state(aws, digests) == {*digests, "prod", "v1", "pr-1", "v0", "moved", "base-tag", "1.0"}
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("dryRun", kind)
    assert notice.data["imageIds"] == [{"imageDigest": digests["preview"], "imageTag": "pr-1"}]
    assert codes(notice.data) == ["ImageNotFound"]
    assert answer is None or answer["dryRun"] is True
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


@pytest.mark.parametrize("way", WAYS)
def test_the_cap_rejects_however_a_request_arrives(aws: EmbeddedAWS, start: Start, way: str) -> None:
    """Told once; over the queue it ends as a dead letter, otherwise the invocation fails."""
    kind, arrive = WAYS[way]
    function, request = start(MAX_IMAGES_PER_REQUEST="1"), {"repositoryName": REPOSITORY}
    push(aws, "a")

    def send() -> None:
        arrive(aws, function, request | {"imageIds": ["imageTag=a", "imageTag=b"]})

    if queued := way not in {"event", "by hand"}:
        send()
    else:
        with pytest.raises(Exception, match="must name at most 1 images, not 2"):
            send()

    assert tags_left(aws) == {"a"}
    [notice] = aws.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("rejection", kind)
    assert aws.messages("RequestQueue") == []
    assert len(aws.messages("DeadLetterQueue")) == queued


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_foresees_the_real_one(aws: EmbeddedAWS, start: Start, name: str) -> None:
    """The real one, under another requestId, then deletes, refuses and keeps just that."""
    case = CASES[name]
    digests = population(aws)
    before = state(aws, digests)
    function, request = start(**case.variables), case.request(digests)

    dry = function(request | {"dryRun": True, "requestId": "dry"}, FakeLambdaContext())
    assert (state(aws, digests), aws.notices()) == (before, [])
    real = function(request | {"requestId": "real"}, FakeLambdaContext())

    assert dry == real | {"dryRun": True, "requestId": "dry"}
    assert before - state(aws, digests) == case.gone


def watch() -> list[Look]:
    """The calls to ECR that the function makes from now on, each with how many ids it names."""
    calls: list[Look] = []

    def note(request: Any, event_name: str, **_: object) -> None:
        body = json.loads(request.body)
        calls.append((event_name.rpartition(".")[2], len(body.get("imageIds", []))))

    sys.modules["handler.work"].ecr.meta.events.register("before-send.ecr", note)
    return calls


COSTS: dict[str, tuple[Json, tuple[str, ...], Json, dict[str, int]]] = {
    "nothing": ({}, ("imageTag=pr-1", "imageDigest={release}", "imageTag=gone"), {}, {"BatchDeleteImage": 1}),
    "protected tags, by tag": ({"PROTECTED_TAGS": "prod"}, ("imageTag=pr-1",), {}, {"BatchDeleteImage": 1}),
    "protected tags, all refused": ({"PROTECTED_TAGS": "prod"}, ("imageDigest={release}",), {}, {"DescribeImages": 1}),
    "protected tags, by digest": (
        {"PROTECTED_TAGS": "prod"},
        ("imageDigest={preview}", "imageDigest={old}"),
        {},
        {"DescribeImages": 1, "BatchDeleteImage": 1},
    ),
    "protected tags, one missing": (
        {"PROTECTED_TAGS": "prod"},
        ("imageDigest={preview}", f"imageDigest={MISSING}"),
        {},
        {"DescribeImages": 2, "BatchGetImage": 1, "BatchDeleteImage": 1},
    ),
    "protected repository": ({"PROTECTED_REPOSITORIES": REPOSITORY}, ("imageDigest={preview}",), {}, {}),
    "dry run": ({}, ("imageTag=pr-1",), {"dryRun": True}, {"DescribeImages": 1}),
    "dry run, protected tags": (
        {"PROTECTED_TAGS": "prod"},
        ("imageDigest={preview}",),
        {"dryRun": True},
        {"DescribeImages": 2},
    ),
    "tag and digest": (
        {},
        ("imageDigest={preview},imageTag=pr-1", "imageTag=moved"),
        {},
        {"DescribeImages": 1, "BatchDeleteImage": 1},
    ),
    "untag": ({}, ("imageTag=v1", "imageTag=pr-1"), {"untag": True}, {"DescribeImages": 1, "BatchDeleteImage": 1}),
    "nothing, in three calls": ({}, tuple(f"imageTag=gone-{n}" for n in range(201)), {}, {"BatchDeleteImage": 3}),
    "protected tags, in three calls": (
        {"PROTECTED_TAGS": "prod"},
        tuple(f"imageTag=gone-{n}" for n in range(201)),
        {},
        {"BatchDeleteImage": 3},
    ),
    "everything protected, but nothing of it asked for": (
        {"PROTECTED_TAGS": "prod", "PROTECTED_REPOSITORIES": "other/*", "MAX_IMAGES_PER_REQUEST": "1"},
        ("imageTag=pr-1",),
        {"dryRun": False, "untag": False, "notify": True},
        {"BatchDeleteImage": 1},
    ),
    "cascade, of 41 that are missing": (
        {},
        tuple(f"imageTag=gone-{n}" for n in range(41)),
        {"cascade": True},
        {"BatchGetImage": 3, "BatchDeleteImage": 1},
    ),
    "cascade of an image": (
        {},
        ("imageTag=pr-1",),
        {"cascade": True},
        {"BatchGetImage": 1, "ListImageReferrers": 1, "BatchDeleteImage": 1},
    ),
    "cascade of an index": (
        {},
        ("imageTag=1.0",),
        {"cascade": True},
        # Before the relatives go, the look finds the index missing: three calls, one of them BatchGetImage.
        {"BatchGetImage": 3, "ListImageReferrers": 3, "BatchDeleteImage": 2, "DescribeImages": 2},
    ),
}
"""What the stack and the request say, and the calls to ECR that this costs."""


@pytest.mark.parametrize("name", COSTS)
def test_a_guard_costs_what_is_promised(aws: EmbeddedAWS, start: Start, name: str) -> None:
    """A look for each that is in use, and for the others nothing."""
    variables, image_ids, switches, expected = COSTS[name]
    digests = population(aws)
    request = Case(image_ids, switches, variables).request(digests)
    function = start(**variables)
    calls = watch()

    function(request, FakeLambdaContext())

    assert Counter(operation for operation, _ in calls) == expected


def test_a_request_beyond_the_cap_costs_nothing(start: Start) -> None:
    """ECR is not asked before it is rejected."""
    function = start(MAX_IMAGES_PER_REQUEST="1", PROTECTED_TAGS="prod")
    calls = watch()
    with pytest.raises(Exception, match="must name at most 1 images"):
        ask(function, {"imageDigest": MISSING}, "imageTag=a")
    assert calls == []


def test_what_is_named_by_digest_is_looked_up_a_hundred_a_call(aws: EmbeddedAWS, start: Start) -> None:
    """With protected tags; what is named by tag is not."""
    digests = [push(aws) for _ in range(101)]
    function = start(PROTECTED_TAGS="prod")
    calls = watch()

    answer = ask(
        function, *({"imageDigest": digest} for digest in digests), *(f"imageTag=gone-{n}" for n in range(101))
    )

    assert sorted(calls) == [
        ("BatchDeleteImage", 2), ("BatchDeleteImage", 100), ("BatchDeleteImage", 100),
        ("DescribeImages", 1), ("DescribeImages", 100),
    ]  # fmt: skip
    assert codes(answer) == ["ImageNotFound"] * 101
    assert aws.images(REPOSITORY) == set()


def answering(status: int, code: str) -> Callable[[AWSPreparedRequest], AWSResponse]:
    """ECR answers with an error."""

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        body = json.dumps({"__type": code, "message": "told by ECR"}).encode()
        return AWSResponse(request.url, status, HTTPHeaders(), mock.Mock(stream=lambda **_: iter([body])))

    return answer


def raising(error: Callable[..., Exception]) -> Callable[[AWSPreparedRequest], AWSResponse]:
    """No answer comes from ECR."""

    def fail(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        raise error(endpoint_url=request.url)

    return fail


FAULTS = {
    "throttled": answering(400, "ThrottlingException"),
    "500": answering(500, "ServerException"),
    "no connection": raising(EndpointConnectionError),
    "time-out": raising(ReadTimeoutError),
}
LOOKS = {
    "protected tag": "DescribeImages",
    "untag": "DescribeImages",
    "tag and digest": "DescribeImages",
    "cascade": "BatchGetImage",
}
"""What each guard looks with."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function does not wait before it asks again, nor asks more slowly."""
    monkeypatch.setattr(TokenBucket, "acquire", lambda *_, **__: True)
    monkeypatch.setattr(botocore.endpoint, "time", mock.Mock(wraps=time, sleep=lambda _: None))


@contextmanager
def spoiled(operation: str, fault: str) -> Iterator[None]:
    """While it lasts, the function's calls of an operation of ECR's meet a fault."""
    ecr_events, hook = sys.modules["handler.work"].ecr.meta.events, f"before-send.ecr.{operation}"
    ecr_events.register(hook, FAULTS[fault])
    yield
    ecr_events.unregister(hook, FAULTS[fault])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", LOOKS)
def test_nothing_is_deleted_on_doubt(aws: EmbeddedAWS, start: Start, name: str, fault: str) -> None:
    """While the look cannot be made, the message stays on the queue; a later delivery finishes it."""
    case, digests = CASES[name], population(aws)
    before = state(aws, digests)
    poller = Poller(aws, start(**case.variables))
    enqueue(aws, case.request(digests))

    with spoiled(LOOKS[name], fault):
        poll = poller.poll()

    assert poll
    [record] = poll.event["Records"]
    assert poll.answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
    assert (state(aws, digests), aws.notices()) == (before, [])

    poller.drain()

    assert before - state(aws, digests) == case.gone
    [notice] = aws.notices()
    assert codes(notice.data) == list(case.codes)
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["event", "by hand"])
@pytest.mark.parametrize("name", LOOKS)
def test_an_invocation_fails_on_doubt(aws: EmbeddedAWS, start: Start, name: str, way: str, fault: str) -> None:
    """Without a queue it is Lambda that tries again: nothing is deleted before, and then what the guard lets go."""
    case, (_, arrive) = CASES[name], WAYS[way]
    digests = population(aws)
    before = state(aws, digests)
    function = start(**case.variables)
    request = case.request(digests) | {"requestId": "r-1"}

    with spoiled(LOOKS[name], fault), pytest.raises(Exception, match="ECR") as raised:
        arrive(aws, function, request)

    assert type(raised.value).__name__ == "NotNowError"
    assert (state(aws, digests), aws.notices()) == (before, [])

    answer = arrive(aws, function, request)

    assert answer
    assert codes(answer) == list(case.codes)
    assert before - state(aws, digests) == case.gone


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_dry_run_that_cannot_look_is_made_again(aws: EmbeddedAWS, start: Start, fault: str) -> None:
    """What it cannot see it does not foresee, and tells nobody; the redelivery does."""
    case = CASES["protected tag"]
    digests = population(aws)
    poller = Poller(aws, start(**case.variables))
    enqueue(aws, case.request(digests) | {"dryRun": True, "notify": True})

    with spoiled("DescribeImages", fault):
        poll = poller.poll()

    assert poll
    assert poll.failed
    assert aws.notices() == []

    poller.drain()

    [notice] = aws.notices()
    assert codes(notice.data) == list(case.codes)
    assert notice.data["imageIds"] == [{"imageDigest": digests["preview"], "imageTag": "pr-1"}]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("operation", "gone"), [("ListImageReferrers", set()), ("DescribeImages", {"index", "1.0"})])
def test_relatives_wait_for_a_look(aws: EmbeddedAWS, start: Start, operation: str, gone: set[str], fault: str) -> None:
    """Before the index goes, or after: what belonged to it is remembered, and goes on a later delivery."""
    case = CASES["cascade"]
    digests = population(aws)
    before = state(aws, digests)
    poller = Poller(aws, start(**case.variables))
    enqueue(aws, case.request(digests))

    with spoiled(operation, fault):
        poll = poller.poll()

    assert poll
    assert poll.failed
    assert (before - state(aws, digests), aws.notices()) == (gone, [])

    poller.drain()

    assert before - state(aws, digests) == case.gone
    [notice] = aws.notices()
    assert codes(notice.data) == list(case.codes)
    assert aws.messages("RequestQueue") == aws.messages("DeadLetterQueue") == []


def test_relatives_that_may_not_be_looked_at_stay(aws: EmbeddedAWS, start: Start) -> None:
    """Each is a failure under ECR's code, though its index is gone, and can be sent again."""
    digests = population(aws)
    before = state(aws, digests)
    function = start()
    denied = answering(400, "AccessDeniedException")
    sys.modules["handler.work"].ecr.meta.events.register("before-send.ecr.DescribeImages", denied)

    answer = ask(function, "imageTag=1.0", cascade=True)

    assert before - state(aws, digests) == {"index", "1.0"}
    assert answer["imageIds"] == [{"imageDigest": digests["index"], "imageTag": "1.0"}]
    relatives = [{"imageDigest": digests["child"]}, {"imageDigest": digests["base"]}]
    assert [(f["imageId"], f["failureCode"]) for f in answer["failures"]] == [
        (image_id, "AccessDeniedException") for image_id in relatives
    ]
    [notice] = aws.notices()
    assert notice.data["retryRequest"]["imageIds"] == relatives
    assert [notice.data[key] for key in ("requested", "deleted", "failed")] == [3, 1, 2]


def unreadable(aws: EmbeddedAWS, monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    """ECR lost the key to an image's manifest: it answers BatchGetImage with a failure of its own."""
    batch_get_image = CorrectedECR.batch_get_image

    def answer(self: CorrectedECR, name: str, registry_id: str | None = None, image_ids: Any = None) -> Json:
        told = batch_get_image(self, name, registry_id, image_ids)
        locked = [image["imageId"] for image in told["images"] if image["imageId"]["imageDigest"] == digest]
        told["images"] = [image for image in told["images"] if image["imageId"] not in locked]
        failure = {"failureCode": "KmsError", "failureReason": "the key is gone"}
        told["failures"] += [{"imageId": image_id, **failure} for image_id in locked]
        return told

    monkeypatch.setattr(CorrectedECR, "batch_get_image", answer)
    assert digest in {there for there, _ in aws.images(REPOSITORY)}


@pytest.mark.parametrize("name", ["child", "base"])
def test_a_relative_that_cannot_be_read_is_not_deleted_on_doubt(
    aws: EmbeddedAWS, start: Start, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whether it has a tag of its own or not: it is told as a failure, and the others go."""
    digests = population(aws)
    before = state(aws, digests)
    unreadable(aws, monkeypatch, digests[name])
    answer = ask(start(), "imageTag=1.0", cascade=True)
    assert before - state(aws, digests) == {"index", "1.0", "child"} - {name}
    assert [(f["imageId"], f["failureCode"]) for f in answer["failures"]] == [
        ({"imageDigest": digests[name]}, "KmsError")
    ]


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_that_is_denied_is_the_failure_of_each_id(aws: EmbeddedAWS, start: Start, name: str) -> None:
    """Under ECR's code: nothing is deleted, and no redelivery would help."""
    case = CASES[name]
    digests = population(aws)
    before = state(aws, digests)
    function = start(**case.variables)
    denied = answering(400, "AccessDeniedException")
    sys.modules["handler.work"].ecr.meta.events.register(f"before-send.ecr.{LOOKS[name]}", denied)

    answer = function(case.request(digests), FakeLambdaContext())

    assert state(aws, digests) == before
    assert len(answer["failures"]) == len(case.image_ids)
    known = {"ProtectedTag", "TagRequired"}  # without a look
    assert {f["failureCode"] for f in answer["failures"]} - known == {"AccessDeniedException"}
    [notice] = aws.notices()
    assert notice.data["failures"] == answer["failures"]
