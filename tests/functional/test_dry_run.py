"""Dry runs: nothing is deleted, and the report says what would have been, and what would have been refused."""

from typing import Any

import pytest

from tests.harness.arrivals import WAYS, deliver
from tests.harness.guarded import CASES, names_left, populate
from tests.harness.outside import PREVIEWS, Outside, ask, by_digest, codes, hurried, request, select
from tests.harness.server_faults import throttle

type Json = dict[str, Any]


def test_a_dry_run_deletes_nothing(stack: Outside) -> None:
    """The answer has the shape of the real one; a notice comes only where it is asked for."""
    release, other, untagged = stack.push("prod"), stack.push("pr-1", "pr-2"), stack.push()
    ids: list[Json | str] = ["imageTag=pr-1", *by_digest(other, release), "imageTag=gone"]
    ids += [*by_digest(untagged), f"imageDigest={release},imageTag=pr-2", {}]
    function = stack.start(PROTECTED_TAGS="prod")
    before = stack.left()

    answer = ask(function, *ids, dryRun=True)

    assert (stack.left(), stack.faults.count("BatchDeleteImage"), stack.notices()) == (before, 0, [])
    assert answer["dryRun"] is True
    assert codes(answer) == ["ProtectedTag", "ImageNotFound", "ImageTagDoesNotMatchDigest", "MissingDigestAndTag"]
    assert {(image_id["imageDigest"], image_id.get("imageTag")) for image_id in answer["imageIds"]} == {
        (other, "pr-1"),
        (other, "pr-2"),
        (untagged, None),
    }

    ask(function, *ids, dryRun=True, notify="always")
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["dryRun"], notice.attributes["type"]) == ("dryRun", True, "dryRun")
    assert notice.data["imageIds"] == answer["imageIds"]
    assert notice.subject == "ECR image deletion: dry run: 3 of 7 images would be deleted in team/app"
    assert "nothing was deleted" in notice.text


@pytest.mark.parametrize("way", WAYS)
def test_dry_runs_delete_nothing_however_they_arrive(stack: Outside, way: str) -> None:
    """The answer says so, and the notice that was asked for; delivered twice, it is one, with one notice."""
    digests = populate(stack)
    before, function = names_left(stack, digests), stack.start()
    asked = request("imageTag=pr-1", "imageTag=gone", dryRun=True, notify="always")

    first = deliver(function, way, asked)
    assert names_left(stack, digests) == before
    stack.delete(digests["preview"])
    again = deliver(function, way, asked, n=2)

    assert first == again
    assert not first.failed
    assert first.answer is None or first.answer["dryRun"] is True
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["origin"]["kind"]) == ("dryRun", WAYS[way].origin)
    assert notice.data["imageIds"] == [{"imageDigest": digests["preview"], "imageTag": "pr-1"}]
    assert codes(notice.data) == ["ImageNotFound"]


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_foresees_the_real_one(stack: Outside, name: str) -> None:
    """The real one, under another requestId, then deletes, refuses and keeps just that."""
    case, digests = CASES[name], populate(stack)
    before = names_left(stack, digests)
    function = stack.start(**case.variables)
    ids, switches = case.request(digests)["imageIds"], case.switches

    dry = ask(function, *ids, **switches, dryRun=True, requestId="dry")
    assert (names_left(stack, digests), stack.notices()) == (before, [])
    real = ask(function, *ids, **switches, requestId="real")

    assert dry == real | {"dryRun": True, "requestId": "dry"}
    assert before - names_left(stack, digests) == case.gone


def test_a_dry_run_of_a_selection_foresees_the_real_one(stack: Outside) -> None:
    """The real one, under another requestId, then deletes and keeps just that, with what belongs to its images."""
    stack.push("pr-1", "prod")
    stack.push("pr-2", "pr-2-b")
    shared, tagged = stack.push(), stack.push("main")
    stack.push_index([shared, tagged], "2.0")
    stack.push_referrer(stack.push_index([stack.push(), shared, tagged], "pr-3"))
    before = stack.left()
    function = stack.start(PROTECTED_TAGS="prod", MAX_PERCENT_OF_REPOSITORY="100")

    dry = select(function, PREVIEWS, requestId="dry", dryRun=True)
    assert stack.left() == before
    real = select(function, PREVIEWS, requestId="real")

    assert dry == real | {"requestId": "dry", "dryRun": True}
    assert (real["selected"], real["failures"]) == (4, [])
    assert before - stack.left() == {image_id["imageDigest"] for image_id in real["imageIds"]}


def test_a_dry_run_is_another_request_than_the_real_one(stack: Outside) -> None:
    """A requestId that a dry run used is not that of a deletion: nothing is deleted under it."""
    stack.push("v1")
    function = stack.start()
    ask(function, "imageTag=v1", dryRun=True, requestId="r-1")
    with pytest.raises(Exception, match="used before by a request that asked for something else"):
        ask(function, "imageTag=v1", requestId="r-1")
    assert stack.tags() == {"v1"}


def test_a_stack_may_make_every_request_a_dry_run(stack: Outside) -> None:
    """Also one that says it is none."""
    stack.push("v1")
    assert ask(stack.start(DRY_RUN="true"), "imageTag=v1", dryRun=False)["dryRun"] is True
    assert stack.tags() == {"v1"}


@pytest.mark.usefixtures("no_waiting")
def test_a_dry_run_that_cannot_look_up_is_made_again(stack: Outside) -> None:
    """It foresees nothing that it cannot see, and reports nothing; the redelivery does."""
    digests = populate(stack)
    function = stack.start()
    stack.send("imageTag=pr-1", dryRun=True, notify="always")
    rule = stack.faults.add("DescribeImages", throttle)
    assert stack.receive(function).failed
    assert stack.notices() == []
    rule.lift()

    stack.drain(function)

    [notice] = stack.notices()
    assert notice.data["imageIds"] == [{"imageDigest": digests["preview"], "imageTag": "pr-1"}]


def test_a_dry_run_that_runs_out_of_time_is_not_continued(stack: Outside) -> None:
    """Though it has foreseen some by then, its message stays: what continued it would foresee the same without end."""
    images = {child := stack.push(), stack.push_index([child], "pr-1")}
    function = stack.start(MAX_PERCENT_OF_REPOSITORY="100")
    stack.send_bulk(selection=PREVIEWS, dryRun=True, notify="always")

    # There is time for the list, and for two look-ups of the index: its guard's, and what would become of it.
    first = stack.receive(hurried(function, lambda: 100 if stack.faults.count("DescribeImages") < 3 else 0))

    assert (len(first.failed), stack.faults.count("DescribeImages")) == (1, 3)
    assert (stack.left(), stack.notices(), len(stack.waiting())) == (images, [], 1)
    stack.drain(function)
    assert stack.left() == images
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["deleted"]) == ("dryRun", 2, 2)
    assert stack.waiting() == stack.dead_letters() == []


def test_what_a_dry_run_leads_to_is_dry(stack: Outside) -> None:
    """Where the stack makes it one, the requests on the queue say so themselves: a change of the stack is no matter."""
    digest = stack.push("pr-1")
    stack.send_bulk(repositoryNames=["team/*"], selection=PREVIEWS, notify="always", requestId="r")
    assert stack.receive(stack.start(DRY_RUN="true")).failed == ()

    stack.drain(stack.start(DRY_RUN="false", MAX_PERCENT_OF_REPOSITORY="100"))

    assert stack.left() == {digest}
    [notice] = stack.notices()
    assert (notice.data["type"], notice.data["selected"], notice.data["requestId"]) == ("dryRun", 1, "r/team/app")
    assert stack.waiting() == []
