"""ECS is read whole: what runs, what services would start again, and what could be started by its name."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handler.models.errors import ServiceUnavailableError
from handler.usage import ecs
from handler.usage.reading import ReadingFailedError, Unit
from tests.fakes.aws import response
from tests.fakes.usage import REGISTRY, FakeUsage, client, digest, ecs_arn

WEB, JOB = f"{REGISTRY}/team/web", f"{REGISTRY}/team/job"


def units(running: FakeUsage, revisions: int = 3) -> list[Unit]:
    """The units that there are now."""
    return ecs.units(client("ecs", running), revisions)


def uses(running: FakeUsage, revisions: int = 3) -> set[tuple[str, str]]:
    """Who uses which image, by what it is pulled by."""
    return {
        (use.user, f"{use.image.repository_name}@{use.image.image_id.tag or use.image.image_id.digest}")
        for unit in units(running, revisions)
        for use in unit.read()
    }


def test_each_cluster_and_each_family_is_a_unit(running: FakeUsage) -> None:
    """Over all pages of both lists."""
    running.clusters = [f"c{n}" for n in range(5)]
    running.families = {f"f{n}": [] for n in range(5)}
    names = [unit.name for unit in units(running)]
    assert names == [*(f"cluster/c{n}" for n in range(5)), *(f"family/f{n}" for n in range(5))]


def test_tasks_use_the_digest_that_they_found_and_the_name_that_they_were_given(running: FakeUsage) -> None:
    """By the service that started them, or by their family; a task that has pulled nothing yet by its name alone."""
    running.clusters = ["prod"]
    running.run_task("prod", {"image": f"{WEB}:v1", "imageDigest": digest(1)}, group="service:web", family="web")
    running.run_task("prod", {"image": f"{JOB}:v1"})
    running.run_task("prod", {"image": f"{JOB}@{digest(2)}"}, group="mine", family="adhoc")
    assert uses(running) == {
        ("ECS service web in cluster prod", "team/web@v1"),
        ("ECS service web in cluster prod", f"team/web@{digest(1)}"),
        ("ECS task of family job in cluster prod", "team/job@v1"),
        ("ECS task of family adhoc in cluster prod", f"team/job@{digest(2)}"),
    }


def test_images_of_other_registries_and_containers_without_an_image_are_nobodys_here(running: FakeUsage) -> None:
    """Docker Hub's, and those that AWS adds to a task."""
    running.clusters = ["prod"]
    running.run_task("prod", {"image": "nginx:1.29", "imageDigest": digest(1)}, {"imageDigest": digest(2)})
    assert uses(running) == set()


def test_services_would_start_what_their_revisions_keep_and_what_their_task_definitions_name(
    running: FakeUsage,
) -> None:
    """Though nothing runs: the digest of the deployment, which the tag may not name any more."""
    running.clusters = ["prod"]
    running.families = {"web": [[f"{WEB}:v{n}"] for n in range(1, 4)]}
    old = running.deploy("prod/web", "web:1", {"image": f"{WEB}:v1", "imageDigest": digest(1)})
    new = running.deploy("prod/web", "web:3")  # it has started no task yet
    running.run_service("prod", "web", "web:2", currentServiceRevisions=[old, new])
    user = "ECS service web in cluster prod"
    assert {image for who, image in uses(running) if who == user} == {
        "team/web@v1",
        "team/web@v2",
        "team/web@v3",
        f"team/web@{digest(1)}",
    }


def test_a_service_without_revisions_is_known_by_its_task_definitions(running: FakeUsage) -> None:
    """Its own, those of its deployments, and those of its task sets."""
    running.clusters = ["prod"]
    running.families = {"web": [[f"{WEB}:v{n}"] for n in range(1, 4)]}
    deployments = [{"taskDefinition": ecs_arn("task-definition", "web:2")}, {}]
    task_sets = [{"taskDefinition": ecs_arn("task-definition", "web:3")}]
    running.run_service("prod", "web", "web:1", deployments=deployments)
    running.run_service("prod", "blue", taskSets=task_sets)
    by_service = {(who, image) for who, image in uses(running) if who.startswith("ECS service")}
    assert by_service == {
        ("ECS service web in cluster prod", "team/web@v1"),
        ("ECS service web in cluster prod", "team/web@v2"),
        ("ECS service blue in cluster prod", "team/web@v3"),
    }


def test_a_service_that_was_deleted_meanwhile_starts_nothing(running: FakeUsage) -> None:
    """ECS still describes it, though its revisions may be gone."""
    running.clusters = ["prod"]
    running.run_service("prod", "web", status="INACTIVE", currentServiceRevisions=[{"arn": "gone"}])
    assert uses(running) == set()


def test_of_each_family_the_newest_revisions_count(running: FakeUsage) -> None:
    """As many as the stack says, over several pages if need be."""
    running.families = {"web": [[f"{WEB}:v{n}", f"{JOB}:v{n}"] for n in range(1, 6)], "job": [[JOB]]}
    assert uses(running, 3) == {
        ("ECS task definition job:1", "team/job@latest"),
        *((f"ECS task definition web:{n}", f"team/{name}@v{n}") for n in (3, 4, 5) for name in ("web", "job")),
    }
    assert {image for _, image in uses(running, 1)} == {"team/job@latest", "team/web@v5", "team/job@v5"}


def test_a_task_definition_is_asked_for_once(running: FakeUsage) -> None:
    """However many services and revisions have it."""
    running.clusters = ["prod"]
    running.families = {"web": [[f"{WEB}:v1"]]}
    for name in "abc":
        revision = running.deploy(f"prod/{name}", "web:1", {"image": f"{WEB}:v1", "imageDigest": digest(1)})
        running.run_service("prod", name, "web:1", currentServiceRevisions=[revision])
    assert len(uses(running)) == 7
    assert running.calls["DescribeTaskDefinition"] == 1


def test_no_call_describes_more_than_ecs_takes(running: FakeUsage) -> None:
    """A hundred tasks, ten services and twenty revisions; the fake refuses more."""
    running.page = 100
    running.clusters = ["prod"]
    running.families = {"web": [[f"{WEB}:v1"]]}
    for n in range(201):
        running.run_task("prod", {"image": f"{WEB}:t{n}"})
    for n in range(21):
        revision = running.deploy(f"prod/s{n}", "web:1", {"image": f"{WEB}:s{n}"})
        running.run_service("prod", f"s{n}", "web:1", currentServiceRevisions=[revision])
    tags = {image for _, image in uses(running)}
    assert {f"team/web@t{n}" for n in range(201)} | {f"team/web@s{n}" for n in range(21)} <= tags
    assert (running.calls["DescribeTasks"], running.calls["DescribeServices"]) == (3, 3)
    assert running.calls["DescribeServiceRevisions"] == 2


def test_a_task_that_has_stopped_meanwhile_uses_nothing(running: FakeUsage) -> None:
    """ECS says that it is missing, and the others count."""
    running.clusters = ["prod"]
    running.run_task("prod", {"image": f"{WEB}:v1"})
    gone = ecs_arn("task", "prod/gone")
    running.edits["ListTasks"] = lambda answer: {"taskArns": [*answer["taskArns"], gone]}
    assert {image for _, image in uses(running)} == {"team/web@v1"}


def full(running: FakeUsage) -> None:
    """Something of each kind."""
    running.clusters = ["prod"]
    running.families = {"web": [[f"{WEB}:v1"]]}
    revision = running.deploy("prod/web", "web:1", {"image": f"{WEB}:v1", "imageDigest": digest(1)})
    running.run_service("prod", "web", "web:1", currentServiceRevisions=[revision])
    running.run_task("prod", {"image": f"{WEB}:v1", "imageDigest": digest(1)})


OPERATIONS = (
    "ListClusters", "ListTasks", "ListServices", "ListTaskDefinitionFamilies", "ListTaskDefinitions", "DescribeTasks",
    "DescribeServices", "DescribeServiceRevisions", "DescribeTaskDefinition",
)  # fmt: skip


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_answer_that_was_cut_short_fails_the_reading(running: FakeUsage, operation: str) -> None:
    """The SDK reads nothing from it: without a look, it would be a list that has nothing."""
    full(running)
    assert uses(running)
    running.edits[operation] = lambda _: response(200, '{"clusterArns": ["arn')
    with pytest.raises(ServiceUnavailableError, match="did not arrive whole"):
        uses(running)


@pytest.mark.parametrize("operation", ["ListTasks", "ListClusters"])
def test_a_later_page_that_was_cut_short_fails_the_reading_too(running: FakeUsage, operation: str) -> None:
    """What the first page had is not all there is."""
    running.clusters = ["a", "b", "c"]
    for _ in range(3):
        running.run_task("a", {"image": WEB})
    running.edits[operation] = lambda answer: None if "nextToken" in answer else response(200, "{")
    with pytest.raises(ServiceUnavailableError):
        uses(running)


DESCRIBED = {"DescribeTasks": "tasks", "DescribeServices": "services", "DescribeServiceRevisions": "serviceRevisions"}


@pytest.mark.parametrize(("operation", "name"), DESCRIBED.items())
def test_what_ecs_leaves_out_fails_the_reading(running: FakeUsage, operation: str, name: str) -> None:
    """It could be what uses an image."""
    full(running)
    running.edits[operation] = lambda _: {name: [], "failures": []}
    with pytest.raises(ReadingFailedError, match="leaves out arn"):
        uses(running)


@pytest.mark.parametrize(("operation", "name"), DESCRIBED.items())
@pytest.mark.parametrize("reason", ["MISSING", "ACCESS_DENIED"])
def test_what_ecs_does_not_describe_fails_the_reading(
    running: FakeUsage, operation: str, name: str, reason: str
) -> None:
    """But for a task that is missing: it has stopped."""
    full(running)

    def failed(answer: dict[str, Any]) -> dict[str, Any]:
        [described] = answer[name]
        arn = described[f"{name[:-1]}Arn"]
        return {name: [], "failures": [{"arn": arn, "reason": reason}]}

    running.edits[operation] = failed
    if (operation, reason) == ("DescribeTasks", "MISSING"):
        assert uses(running)
    else:
        with pytest.raises(ReadingFailedError, match=reason):
            uses(running)


def refuse(code: str, message: str = "-") -> Any:
    """Has ECS refuse a call."""
    return lambda _: response(400, json.dumps({"__type": code, "message": message}))


def test_a_cluster_that_is_gone_uses_nothing(running: FakeUsage) -> None:
    """It was deleted since it was listed, as only a cluster without tasks can be; the others are read."""
    running.clusters = ["gone"]
    running.edits["ListTasks"] = refuse("ClusterNotFoundException")
    assert uses(running) == set()


def test_another_refusal_fails_the_reading(running: FakeUsage) -> None:
    """Nobody knows what runs then."""
    running.clusters = ["prod"]
    running.edits["ListTasks"] = refuse("InvalidParameterException")
    with pytest.raises(ClientError):
        uses(running)


def test_a_task_definition_that_is_gone_uses_nothing(running: FakeUsage) -> None:
    """It was deleted since its family was listed."""
    running.families = {"job": [[f"{JOB}:v1"]]}
    assert uses(running) == {("ECS task definition job:1", "team/job@v1")}
    running.edits["DescribeTaskDefinition"] = refuse("ClientException")
    assert uses(running) == set()


def test_task_definitions_may_be_left_out(running: FakeUsage) -> None:
    """Where only what runs is to count: those that nothing runs are not even listed."""
    running.families = {"job": [[f"{JOB}:v1"]]}
    assert uses(running, revisions=0) == set()
    assert running.calls["ListTaskDefinitionFamilies"] == 0


def test_an_image_of_ecr_that_is_not_understood_is_logged(running: FakeUsage, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can run it; and if somebody can, an operator must learn that it is not protected."""
    running.clusters = ["prod"]
    running.run_task("prod", {"image": f"{WEB}@sha256:short"})
    assert uses(running) == set()
    [record] = [vars(record) for record in caplog.records]
    assert (record["message"], record["addresses"]) == ("images not understood", [f"{WEB}@sha256:short"])


def test_one_task_that_is_left_out_fails_the_reading(running: FakeUsage) -> None:
    """The others are described, and nobody says that it is missing: it may run."""
    running.clusters = ["prod"]
    for n in range(3):
        running.run_task("prod", {"image": f"{WEB}:v{n}"})
    running.edits["DescribeTasks"] = lambda answer: response(200, json.dumps({**answer, "tasks": answer["tasks"][:-1]}))
    with pytest.raises(ReadingFailedError, match="leaves out"):
        uses(running)
