"""Nothing that is known to be in use is deleted, whoever asks; and nothing is deleted where that cannot be known."""

from collections import Counter
from typing import Any

import pytest

from local.poller import FakeLambdaContext
from tests.harness.arrivals import WAYS, deliver
from tests.harness.in_use import Inventory, address
from tests.harness.outside import (
    ANY_SHARE,
    PREVIEWS,
    REPOSITORY,
    Outside,
    ask,
    by_digest,
    by_tag,
    codes,
    request,
    select,
)
from tests.harness.server_faults import Action, deny, edit_answer, empty, refuse_with, server_error

type Json = dict[str, Any]

WEB = "ECS service web in cluster prod"
ALL: Json = {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1}


@pytest.fixture
def inventory(stack: Outside) -> Inventory:
    """A stack that protects what ECS uses, which was read just now; nothing is in use."""
    return Inventory(stack.aws)


@pytest.mark.parametrize("way", WAYS)
def test_an_image_in_use_stays_however_a_request_arrives(stack: Outside, inventory: Inventory, way: str) -> None:
    """It is a failure that says who uses it, and no request is offered that tries again; others go."""
    running, old = stack.push("v1"), stack.push("v2")
    inventory.use(address(REPOSITORY, running), user=WEB)

    deliver(stack.start(**inventory.variables), way, request(*by_digest(running, old)))

    assert stack.left() == {running}
    [notice] = stack.notices()
    [failure] = notice.data["failures"]
    assert failure["failureCode"] == "ImageInUse"
    assert f"{WEB} since 20" in failure["failureReason"]
    assert "retryRequest" not in notice.data


@pytest.mark.parametrize("name", ["v1", "v2", "digest"])
@pytest.mark.parametrize("used_by", ["v1", "digest"])
def test_an_image_is_in_use_by_its_digest_and_by_any_tag(
    stack: Outside, inventory: Inventory, name: str, used_by: str
) -> None:
    """However the request names it, and however whoever runs it does."""
    running = stack.push("v1", "v2")
    inventory.use(address(REPOSITORY, running if used_by == "digest" else used_by))
    image_id = f"imageDigest={running}" if name == "digest" else f"imageTag={name}"
    assert codes(ask(stack.start(**inventory.variables), image_id)) == ["ImageInUse"]
    assert stack.tags() == {"v1", "v2"}


def test_a_tag_in_use_protects_the_image_that_has_it_now(stack: Outside, inventory: Inventory) -> None:
    """Not the one that had it when the source was read."""
    former = stack.push("prod")
    inventory.use(address(REPOSITORY, "prod"))
    now = stack.push("prod")
    assert codes(ask(stack.start(**inventory.variables), *by_digest(former, now))) == ["ImageInUse"]
    assert stack.left() == {now}


def test_a_tag_in_use_may_have_any_name(stack: Outside, inventory: Inventory) -> None:
    """One that a pipeline made of nothing, too: it protects the image that has it, and no other."""
    used, unused = stack.push("None"), stack.push("v2")
    inventory.use(address(REPOSITORY, "None"))
    assert codes(ask(stack.start(**inventory.variables), *by_digest(used, unused))) == ["ImageInUse"]
    assert stack.left() == {used}


def test_what_a_used_index_names_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """Also where a nested index names it; ECR would refuse it too, but not say why, nor to a dry run."""
    inner, other = stack.push(), stack.push()
    nested = stack.push_index([inner])
    inventory.use(address(REPOSITORY, stack.push_index([nested, other], "1.0")))
    answer = ask(stack.start(**inventory.variables), *by_digest(inner, other, nested), dryRun=True)
    assert codes(answer) == ["ImageInUse"] * 3


def test_an_index_that_names_an_image_in_use_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """ECS pins the manifest of a platform: deleting the index would leave it untagged, for others to delete."""
    platform, other = stack.push(), stack.push()
    nested = stack.push_index([platform])
    index, unused = stack.push_index([nested, other], "1.0"), stack.push_index([other], "2.0")
    inventory.use(address(REPOSITORY, platform))
    answer = ask(stack.start(**inventory.variables), *by_tag(["1.0", "2.0"]))
    assert codes(answer) == ["ImageInUse"]
    assert stack.left() == {platform, other, nested, index}
    assert unused not in stack.left()


@pytest.mark.parametrize("how", ["subject", "tag", "tag, asked by digest"])
def test_the_signature_of_an_image_in_use_is_in_use(stack: Outside, inventory: Inventory, how: str) -> None:
    """Without it, the next deployment of the image would be refused; a signature of another image goes."""
    running, old = stack.push("v1"), stack.push("v2")
    inventory.use(address(REPOSITORY, running))
    sign = stack.push_referrer if how == "subject" else stack.sign
    kept, goes = sign(running), sign(old)
    name = f"imageTag={running.replace(':', '-')}.sig" if how == "tag" else f"imageDigest={kept}"
    assert codes(ask(stack.start(**inventory.variables), name, *by_digest(goes))) == ["ImageInUse"]
    assert stack.left() == {running, old, kept}


def test_a_copy_in_another_registry_protects_the_original(stack: Outside, inventory: Inventory) -> None:
    """A replication rule may delete it there as well; the repository has the same name there."""
    original, other = stack.push("v1"), stack.push("v2")
    inventory.use(address(REPOSITORY, original, region="eu-west-1", account="210987654321"))
    inventory.use(address("another/repository", other))
    assert codes(ask(stack.start(**inventory.variables), *by_digest(original, other))) == ["ImageInUse"]
    assert stack.left() == {original}


def test_a_selection_keeps_what_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """It is counted under InUse, and the report names it and its user; the untagged image that runs stays as well."""
    running, old, untagged = stack.push("pr-1"), stack.push("pr-2"), stack.push()
    inventory.use(address(REPOSITORY, running), address(REPOSITORY, untagged), user=WEB)
    answer = select(stack.start(**inventory.variables, **ANY_SHARE), ALL, notify="always")
    assert stack.left() == {running, untagged}
    assert (answer["deleted"], answer["failures"], answer["keptByReason"]) == (1, [], {"InUse": 2})
    assert {kept["imageId"]["imageDigest"] for kept in answer["kept"]} == {running, untagged}
    assert all(WEB in kept["reason"] and kept["code"] == "ImageInUse" for kept in answer["kept"])
    [notice] = stack.notices("report")
    assert WEB in notice.text
    assert old not in stack.left()
    assert stack.metric("ImagesRefusedInUse") == 2


def test_a_selection_does_not_count_away_what_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """Of the newest that it keeps, an image in use is one; an older one in use stays beside them."""
    oldest, middle, newest = (stack.push(f"pr-{n}", days=10 - n) for n in range(3))
    inventory.use(address(REPOSITORY, oldest), address(REPOSITORY, newest))
    answer = select(
        stack.start(**inventory.variables, **ANY_SHARE),
        {**PREVIEWS, "countType": "imageCountMoreThan", "countNumber": 1},
    )
    assert stack.left() == {oldest, newest}
    assert answer["keptByReason"] == {"InUse": 1, "MostRecent": 1}
    assert middle not in stack.left()


def test_a_selection_keeps_the_whole_of_an_index_in_use(stack: Outside, inventory: Inventory) -> None:
    """Its platform images and signatures stay, where only one of the platforms runs."""
    platforms = [stack.push(), stack.push()]
    index = stack.push_index(platforms, "pr-1")
    signature = stack.push_referrer(index)
    other = stack.push("pr-2")
    inventory.use(address(REPOSITORY, platforms[0]))
    select(stack.start(**inventory.variables, **ANY_SHARE), ALL)
    assert stack.left() == {*platforms, index, signature}
    assert other not in stack.left()


def test_a_cascade_leaves_what_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """An index with a platform in use stays whole; a signature that is itself in use stays, and is no failure."""
    platform, other = stack.push(), stack.push()
    used, unused = stack.push_index([platform], "1.0"), stack.push_index([other], "2.0")
    signature = stack.push_referrer(unused)
    inventory.use(address(REPOSITORY, platform), address(REPOSITORY, signature))
    answer = ask(stack.start(**inventory.variables), *by_tag(["1.0", "2.0"]), cascade=True)
    assert codes(answer) == ["ImageInUse"]
    assert {kept["code"] for kept in answer["kept"]} == {"ImageInUse", "StillUsed"}
    assert stack.left() == {platform, used, signature}
    assert {other, unused}.isdisjoint(stack.left())


def test_untag_leaves_a_tag_that_is_in_use(stack: Outside, inventory: Inventory) -> None:
    """A task definition names it; another tag of the same image may be removed, for the image stays."""
    stack.push("prod", "v1", "v2")
    inventory.use(address(REPOSITORY, "prod"))
    answer = ask(stack.start(**inventory.variables), *by_tag(["prod", "v1"]), untag=True)
    assert codes(answer) == ["ImageInUse"]
    assert stack.tags() == {"prod", "v2"}


@pytest.mark.parametrize("used_by", ["digest", "tag", "platform"])
def test_untag_leaves_the_tag_by_which_a_signature_is_found(stack: Outside, inventory: Inventory, used_by: str) -> None:
    """However the image that it signs is in use; of one that is not, the tag goes."""
    platform, other = stack.push(), stack.push("v2")
    signed = stack.push_index([platform], "v1")
    inventory.use(address(REPOSITORY, {"digest": signed, "tag": "v1", "platform": platform}[used_by]))
    tags = [f"{image.replace(':', '-')}.sig" for image in (signed, other)]
    for image in (signed, other):
        stack.sign(image, f"of-{image[-5:]}")
    answer = ask(stack.start(**inventory.variables), *by_tag(tags), untag=True)
    assert codes(answer) == ["ImageInUse"]
    assert stack.tags() & {*tags} == {tags[0]}


@pytest.mark.parametrize("why", ["never read", "read too long ago", "read in the future"])
@pytest.mark.parametrize("switches", [{}, {"cascade": True}, {"untag": True}, {"dryRun": True}])
def test_nothing_is_deleted_while_it_is_not_known(stack: Outside, why: str, switches: Json) -> None:
    """Each id is a failure that says which source is not known, and a request is offered that tries again."""
    inventory = Inventory(stack.aws, sources=("ecs", "lambda") if why != "never read" else ("lambda",))
    inventory.variables["PROTECT_IN_USE"] = "ecs,lambda"
    if why != "never read":
        inventory.read("ecs", age=-3600 if why == "read in the future" else 0, lasts=-0.1 if "ago" in why else 60)
    before = {stack.push("v1", "v2"), stack.push("v3")}

    answer = ask(stack.start(**inventory.variables), *by_tag(["v1", "v3"]), **switches, notify="always")

    assert stack.left() == before
    assert codes(answer) == ["UsageUnknown"] * 2
    assert all("ecs" in f["failureReason"] and "lambda" not in f["failureReason"] for f in answer["failures"])
    [notice] = stack.notices()
    assert ("retryRequest" in notice.data) == ("dryRun" not in switches)
    assert stack.faults.ecr_calls == []


def test_a_selection_is_kept_whole_while_it_is_not_known(stack: Outside) -> None:
    """It is a failure, reported once, and the repository is not even listed."""
    inventory = Inventory(stack.aws, sources=())
    stack.push("pr-1")
    answer = select(stack.start(**inventory.variables | {"PROTECT_IN_USE": "ecs"}), ALL)
    assert codes(answer) == ["UsageUnknown"]
    assert (stack.tags(), stack.faults.ecr_calls) == ({"pr-1"}, [])
    assert len(stack.notices("failure")) == 1


def test_what_was_in_use_is_forgotten_in_time(stack: Outside, inventory: Inventory) -> None:
    """Some days after it was last seen, an image may go; the source goes on being read."""
    former = stack.push("v1")
    inventory.use(address(REPOSITORY, former), days=2)
    function = stack.start(**inventory.variables)
    assert codes(ask(function, *by_digest(former))) == ["ImageInUse"]
    stack.let_time_pass(3 * 86_400)
    inventory.read("ecs")
    assert codes(ask(function, *by_digest(former))) == []


REFUSALS = ["ProvisionedThroughputExceededException", "AccessDeniedException", "ResourceNotFoundException"]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("answer", [server_error, *map(refuse_with, REFUSALS)], ids=["broken", *REFUSALS])
@pytest.mark.parametrize("named", [{}, {"cascade": True}, None], ids=["named", "cascade", "selected"])
def test_a_table_that_cannot_be_reached_is_not_now(
    stack: Outside, inventory: Inventory, answer: Action, named: Json | None
) -> None:
    """The request stays on the queue; it is carried out once the table answers, and nobody is bothered."""
    old = stack.push("v1", days=40)
    stack.faults.add("Query", answer, nth=range(1, 100))
    if named is None:
        stack.send_bulk(selection=ALL)
    else:
        stack.send(*by_digest(old), **named)
    function = stack.start(**inventory.variables, **ANY_SHARE)
    stack.receive(function)
    assert (stack.left(), stack.notices()) == ({old}, [])
    assert len(stack.waiting()) == 1
    stack.faults.lift()
    stack.drain(function)
    assert (stack.left(), stack.notices(), stack.dead_letters()) == (set(), [], [])


NAMES = 150
"""More names in use than one call to ECR takes."""


@pytest.mark.parametrize(
    ("used", "asked", "switches", "expected"),
    [
        # A DescribeImages for each 100 ids; a BatchGetImage for each 100 names in use, once an invocation.
        ([], 3, {}, {"Query": 2, "BatchDeleteImage": 1}),
        (["tag"], 3, {}, {"Query": 2, "BatchGetImage": 1, "DescribeImages": 1, "BatchDeleteImage": 1}),
        (["digest"], 3, {}, {"Query": 2, "BatchGetImage": 1, "DescribeImages": 1, "BatchDeleteImage": 1}),
        (["digest"] * NAMES, 3, {}, {"Query": 2, "BatchGetImage": 2, "DescribeImages": 1, "BatchDeleteImage": 1}),
        (["digest"], 250, {}, {"Query": 2, "BatchGetImage": 1, "DescribeImages": 3, "BatchDeleteImage": 3}),
        (["tag"] * NAMES, 3, {}, {"Query": 2, "BatchGetImage": 2, "DescribeImages": 1, "BatchDeleteImage": 1}),
        (["tag"], 3, {"untag": True}, {"Query": 2, "DescribeImages": 1, "BatchDeleteImage": 1}),
    ],
)
def test_what_the_guard_costs(
    stack: Outside, inventory: Inventory, used: list[str], asked: int, switches: Json, expected: dict[str, int]
) -> None:
    """The table is asked for the repository and for the sources; ECR only where something of it is in use."""
    tags = [f"v{n}" for n in range(asked)]
    for tag in tags:
        stack.push(tag, f"{tag}-too", content=tag)
    running = [stack.push(f"run-{n}") for n in range(len(used))]
    names = [
        digest if kind == "digest" else f"run-{n}" for n, (kind, digest) in enumerate(zip(used, running, strict=True))
    ]
    inventory.use(*(address(REPOSITORY, name) for name in names))
    function = stack.start(**inventory.variables)
    before = Counter(call.operation for call in stack.faults.calls)

    assert codes(ask(function, *by_tag(tags), **switches)) == []

    calls = Counter(call.operation for call in stack.faults.calls) - before
    named = {"Query", "BatchGetImage", "DescribeImages", "BatchDeleteImage"}
    assert {name: count for name, count in calls.items() if name in named} == expected


def test_a_selection_costs_two_queries_more_and_no_call_to_ecr(stack: Outside, inventory: Inventory) -> None:
    """What it has listed and read says which images are in use."""
    running = stack.push("pr-1")
    stack.push_index([stack.push("pr-2"), stack.push()], "pr-3")
    plain = stack.start(**ANY_SHARE)
    select(plain, ALL, dryRun=True)
    without = Counter(stack.faults.ecr_calls)
    inventory.use(address(REPOSITORY, running))
    guarded = stack.start(**inventory.variables, **ANY_SHARE)
    queries = stack.faults.count("Query")
    select(guarded, ALL, dryRun=True)
    assert Counter(stack.faults.ecr_calls) - without == without + Counter(DescribeRegistry=1)
    assert stack.faults.count("Query") - queries == 2


REPLICATED = {"region": "eu-west-1", "registryId": "123456789012"}
NOT_DELETED = {"region": "ap-south-1", "registryId": "123456789012"}


def replicate(stack: Outside, *, prefix: str = "team/") -> None:
    """Has ECR copy images to two regions, and delete in one of them what is deleted here."""
    filters = [{"filter": prefix, "filterType": "PREFIX_MATCH"}]
    stack.aws.client("ecr").put_replication_configuration(
        replicationConfiguration={
            "rules": [
                {"destinations": [REPLICATED], "repositoryFilters": filters, "deleteReplication": {"enabled": True}},
                {"destinations": [NOT_DELETED], "repositoryFilters": filters},
            ]
        }
    )


@pytest.mark.parametrize("switches", [{}, {"dryRun": True}])
def test_the_report_says_where_deletions_are_replicated(stack: Outside, inventory: Inventory, switches: Json) -> None:
    """The dry run does so beforehand; copies that stay are not named."""
    replicate(stack)
    stack.push("v1")
    answer = ask(stack.start(**inventory.variables), "imageTag=v1", notify="always", **switches)
    assert answer["replicatedTo"] == [REPLICATED]
    [notice] = stack.notices()
    assert notice.data["replicatedTo"] == [REPLICATED]
    assert "eu-west-1" in notice.text
    assert "ap-south-1" not in notice.text


def test_nothing_is_said_of_replication_where_there_is_none(stack: Outside, inventory: Inventory) -> None:
    """No rule covers the repository, or nothing was deleted; and where nothing is protected, nobody asks."""
    replicate(stack, prefix="teams/")
    stack.push_many(["v1", "v2", "v3"])
    assert "replicatedTo" not in ask(stack.start(**inventory.variables), "imageTag=v1")
    replicate(stack)
    assert "replicatedTo" not in ask(stack.start(**inventory.variables), "imageTag=gone")
    asked = stack.faults.count("DescribeRegistry")
    assert "replicatedTo" not in ask(stack.start(), "imageTag=v2")
    assert stack.faults.count("DescribeRegistry") == asked


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("fault", [deny, server_error, empty])
def test_replication_that_cannot_be_read_keeps_nothing_back(stack: Outside, inventory: Inventory, fault: Any) -> None:
    """It is only told: the images go, once, and it is not asked for again with each request."""
    replicate(stack)
    stack.faults.add("DescribeRegistry", fault, nth=range(1, 100))
    stack.push_many(["v1", "v2"])
    function = stack.start(**inventory.variables)
    assert codes(ask(function, "imageTag=v1")) == []
    asked = stack.faults.count("DescribeRegistry")
    assert codes(ask(function, "imageTag=v2")) == []
    assert (stack.tags(), stack.faults.count("DescribeRegistry")) == (set(), asked)


# What a look-up does not show, or shows by halves.


def not_found(*names: str) -> Any:
    """Has BatchGetImage say of some images that they are not there, as it may of archived ones."""

    def change(answer: Json) -> Json:
        hidden = [image for image in answer["images"] if {*image["imageId"].values()} & {*names}]
        ids = [image["imageId"] for image in hidden]
        asked = [{"imageTag": i["imageTag"]} if "imageTag" in i else i for i in ids]
        missing = [{"imageId": i, "failureCode": "ImageNotFound", "failureReason": "-"} for i in asked]
        images = [image for image in answer["images"] if image not in hidden]
        return {**answer, "images": images, "failures": [*answer["failures"], *missing]}

    return edit_answer(change)


@pytest.mark.parametrize("used_by", ["digest", "tag"])
@pytest.mark.parametrize("asked", ["digest", "v1", "v2"])
def test_an_archived_image_in_use_stays(stack: Outside, inventory: Inventory, used_by: str, asked: str) -> None:
    """It cannot be pulled, so that its manifest may not be shown, and it could be deleted all the same."""
    running, gone, unused = stack.push("v1", "v2"), stack.push("x"), stack.push("old")
    for digest in (running, unused):
        stack.aws.archive(REPOSITORY, digest)
    stack.delete(gone)
    stack.faults.add("BatchGetImage", not_found(running, unused, "v1", "v2", "old"))
    inventory.use(address(REPOSITORY, running if used_by == "digest" else "v1"))
    image_id = f"imageDigest={running}" if asked == "digest" else f"imageTag={asked}"
    answer = ask(stack.start(**inventory.variables), image_id, *by_digest(gone), "imageTag=old")
    assert codes(answer) == ["ImageInUse", "ImageNotFound"]
    assert stack.left() == {running}


def test_an_index_that_cannot_be_read_stays(stack: Outside, inventory: Inventory) -> None:
    """It may name an image in use; where nothing is in use, it goes."""
    hidden = stack.push_index([stack.push()], "1.0")
    stack.faults.add("BatchGetImage", not_found(hidden, "1.0"))
    function = stack.start(**inventory.variables)
    inventory.use(address(REPOSITORY, "another-tag"))
    assert codes(ask(function, "imageTag=1.0")) == ["UnreadableIndex"]
    assert hidden in stack.left()


@pytest.mark.parametrize("name", ["1.0", "pr-1"])
def test_a_tag_in_use_that_cannot_be_read_protects_whatever_has_it(
    stack: Outside, inventory: Inventory, name: str
) -> None:
    """What carries it is described; so is the index that names that, and neither goes."""
    running = stack.push("prod", "pr-1")
    index = stack.push_index([running], "1.0")
    stack.faults.add("BatchGetImage", not_found("prod"))
    inventory.use(address(REPOSITORY, "prod"))
    assert codes(ask(stack.start(**inventory.variables), f"imageTag={name}")) == ["ImageInUse"]
    assert stack.left() == {running, index}


@pytest.mark.parametrize("switches", [{}, {"untag": True}])
def test_a_signature_is_known_by_its_tag_whatever_it_is_made_of(
    stack: Outside, inventory: Inventory, switches: Json
) -> None:
    """An SBOM may look like an image; without its tag, nobody would find it, so that stays under untag as well."""
    running = stack.push("v1")
    tag = f"{running.replace(':', '-')}.sbom"
    sbom = stack.push(tag, "extra")
    inventory.use(address(REPOSITORY, running))
    assert codes(ask(stack.start(**inventory.variables), f"imageTag={tag}", **switches)) == ["ImageInUse"]
    assert stack.left() == {running, sbom}


@pytest.mark.usefixtures("no_waiting")
def test_an_image_that_is_gone_upstream_costs_the_others_nothing(stack: Outside, inventory: Inventory) -> None:
    """ECR refuses a whole call for one of its images, where that is of a pull-through cache."""
    running, unused = stack.push("v1"), stack.push("v2")

    def refuse(call: Any, perform: Any) -> Any:
        if "gone-upstream" in call.names:
            return refuse_with("UnableToGetUpstreamImageException")(call, perform)
        return perform(call.body)

    stack.faults.add("BatchGetImage", refuse)
    inventory.use(address(REPOSITORY, "gone-upstream"), address(REPOSITORY, "v1"))
    assert codes(ask(stack.start(**inventory.variables), *by_digest(running, unused))) == ["ImageInUse"]
    assert stack.left() == {running}


def test_a_source_that_the_stack_does_not_have_any_more_has_no_say(stack: Outside, inventory: Inventory) -> None:
    """What it said is forgotten with the deployment that leaves it out."""
    stack.push("v1")
    inventory.use(address(REPOSITORY, "v1"), source="nomad")
    assert codes(ask(stack.start(**inventory.variables), "imageTag=v1")) == []


def test_a_selection_is_offered_again_once_it_is_known(stack: Outside) -> None:
    """The notice has the same selection, ready to send."""
    inventory = Inventory(stack.aws, sources=())
    stack.push("pr-1", days=2)
    variables = inventory.variables | {"PROTECT_IN_USE": "ecs"} | ANY_SHARE
    select(stack.start(**variables), PREVIEWS, reason="nightly")
    [notice] = stack.notices()
    inventory.read("ecs")
    retry = notice.data["retryRequest"]
    assert retry == {"repositoryName": REPOSITORY, "reason": "nightly", "selection": PREVIEWS}
    assert stack.start(**variables)(retry, FakeLambdaContext())["deleted"] == 1
