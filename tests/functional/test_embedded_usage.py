"""The embedded AWS where it tells which images are in use: ECS, Lambda, Amazon Inspector, and ECR's replication."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import workloads
from local.aws import EmbeddedAWS
from local.images import push_image
from local.workloads import image_uri

type Json = dict[str, Any]

REPOSITORY = "team/web"
CLUSTER = "production"


@pytest.fixture(autouse=True)
def repository(aws: EmbeddedAWS) -> None:
    """A repository without images."""
    aws.client("ecr").create_repository(repositoryName=REPOSITORY)


@pytest.fixture
def ecs(aws: EmbeddedAWS) -> Any:
    """A client of ECS."""
    return aws.client("ecs")


def push(aws: EmbeddedAWS, *tags: str) -> str:
    """Pushes an image to the repository and returns its digest."""
    return push_image(aws.client("ecr"), REPOSITORY, tags=tags)


def digests(ecs: Any, *tasks: str) -> list[str | None]:
    """The digests of all containers of these tasks."""
    described = ecs.describe_tasks(cluster=CLUSTER, tasks=tasks)["tasks"]
    return [container.get("imageDigest") for task in described for container in task["containers"]]


def service(ecs: Any, name: str = "web") -> Json:
    """A service as it is described."""
    [described] = ecs.describe_services(cluster=CLUSTER, services=[name])["services"]
    return described


def pinned(ecs: Any, *revisions: str) -> list[str | None]:
    """The digests that service revisions pin."""
    described = ecs.describe_service_revisions(serviceRevisionArns=revisions)["serviceRevisions"]
    return [image.get("imageDigest") for revision in described for image in revision["containerImages"]]


def test_a_task_has_the_digests_that_its_images_had_when_it_started(aws: EmbeddedAWS, ecs: Any) -> None:
    """By tag, by digest and by both; not those of other registries. The image is as the task definition has it."""
    old, other = push(aws, "1", "latest"), push(aws)
    images = [
        image_uri(REPOSITORY, "1"),
        image_uri(REPOSITORY, digest=other),
        image_uri(REPOSITORY, "1", other),
        image_uri(REPOSITORY),
        "public.ecr.aws/docker/library/nginx:1",
    ]
    task = workloads.run_task(aws, CLUSTER, *images)
    push(aws, "1")

    [described] = ecs.describe_tasks(cluster=CLUSTER, tasks=[task])["tasks"]
    assert [container["image"] for container in described["containers"]] == images
    assert digests(ecs, task) == [old, other, other, old, None]
    assert (described["group"], described["lastStatus"], described["desiredStatus"]) == (
        "family:job",
        "RUNNING",
        "RUNNING",
    )


def test_a_task_runs_until_it_is_stopped(aws: EmbeddedAWS, ecs: Any) -> None:
    """A stopped one is described, but not listed unless it is asked for. A pending one is listed, without digests."""
    digest = push(aws, "1")
    running = workloads.run_task(aws, CLUSTER, image_uri(REPOSITORY, "1"))
    pending = workloads.run_task(aws, CLUSTER, image_uri(REPOSITORY, "1"), pending=True)
    assert set(ecs.list_tasks(cluster=CLUSTER)["taskArns"]) == {running, pending}
    assert digests(ecs, running) == digests(ecs, running) == [digest]
    assert digests(ecs, pending) == [None]

    workloads.move_task(pending, "RUNNING")
    ecs.stop_task(cluster=CLUSTER, task=running)

    assert digests(ecs, pending) == digests(ecs, running) == [digest]
    assert ecs.list_tasks(cluster=CLUSTER)["taskArns"] == [pending]
    assert ecs.list_tasks(cluster=CLUSTER, desiredStatus="STOPPED")["taskArns"] == [running]


def test_what_is_missing_is_named(aws: EmbeddedAWS, ecs: Any) -> None:
    """Tasks of another cluster as well, and service revisions that nobody knows."""
    task = workloads.run_task(aws, "other", "nginx")
    ecs.create_cluster(clusterName=CLUSTER)

    for failures in (
        ecs.describe_tasks(cluster=CLUSTER, tasks=[task])["failures"],
        ecs.describe_service_revisions(serviceRevisionArns=[task])["failures"],
    ):
        assert failures == [{"arn": task, "reason": "MISSING"}]


def test_a_service_keeps_the_digest_of_its_deployment(aws: EmbeddedAWS, ecs: Any) -> None:
    """Tasks that it starts later have it, although the tag has moved on; a new deployment takes what the tag means."""
    image = image_uri(REPOSITORY, "latest")
    old = push(aws, "latest")
    revision = workloads.deploy_service(aws, CLUSTER, "web", image, count=2)
    new = push(aws, "latest")

    ecs.update_service(cluster=CLUSTER, service="web", desiredCount=3)
    tasks = ecs.list_tasks(cluster=CLUSTER, serviceName="web")["taskArns"]
    ecs.stop_task(cluster=CLUSTER, task=tasks[0])

    tasks = ecs.list_tasks(cluster=CLUSTER, serviceName="web")["taskArns"]
    assert digests(ecs, *tasks) == [old] * 3
    assert service(ecs)["currentServiceRevisions"] == [
        {"arn": revision, "requestedTaskCount": 3, "runningTaskCount": 3, "pendingTaskCount": 0}
    ]
    assert pinned(ecs, revision) == [old]

    updated = ecs.update_service(cluster=CLUSTER, service="web", forceNewDeployment=True)["service"]
    assert pinned(ecs, updated["currentServiceRevisions"][0]["arn"]) == [new]
    assert digests(ecs, *ecs.list_tasks(cluster=CLUSTER)["taskArns"]) == [new] * 3


def test_two_revisions_run_during_a_deployment(aws: EmbeddedAWS, ecs: Any) -> None:
    """The former one until the deployment is finished."""
    push(aws, "1")
    push(aws, "2")
    former = workloads.deploy_service(aws, CLUSTER, "web", image_uri(REPOSITORY, "1"))
    newest = workloads.deploy_service(aws, CLUSTER, "web", image_uri(REPOSITORY, "2"), in_progress=True)

    counts = [
        (revision["arn"], revision["runningTaskCount"], revision["pendingTaskCount"])
        for revision in service(ecs)["currentServiceRevisions"]
    ]
    assert counts == [(newest, 0, 1), (former, 1, 0)]
    assert [deployment["status"] for deployment in service(ecs)["deployments"]] == ["PRIMARY", "ACTIVE"]

    workloads.finish_deployment(CLUSTER, "web")
    assert [revision["arn"] for revision in service(ecs)["currentServiceRevisions"]] == [newest]
    assert service(ecs)["runningCount"] == 1


def test_a_service_without_tasks_still_pins_its_images(aws: EmbeddedAWS, ecs: Any) -> None:
    """Its revision is current with a count of zero; one that is deleted has none, and is not listed."""
    digest = push(aws, "1")
    revision = workloads.deploy_service(aws, CLUSTER, "web", image_uri(REPOSITORY, "1"), count=0)
    assert service(ecs)["currentServiceRevisions"][0] | {"arn": revision} == service(ecs)["currentServiceRevisions"][0]
    assert pinned(ecs, revision) == [digest]

    ecs.delete_service(cluster=CLUSTER, service="web")
    assert service(ecs)["status"] == "INACTIVE"
    assert "currentServiceRevisions" not in service(ecs)
    assert ecs.list_services(cluster=CLUSTER)["serviceArns"] == []


def test_an_old_service_has_no_revisions(aws: EmbeddedAWS, ecs: Any) -> None:
    """As if it were last deployed before October 2024: tasks that it starts have what the tag means then."""
    push(aws, "1")
    revision = workloads.deploy_service(aws, CLUSTER, "web", image_uri(REPOSITORY, "1"))
    workloads.forget_revisions(CLUSTER, "web")
    new = push(aws, "1")
    [task] = ecs.list_tasks(cluster=CLUSTER)["taskArns"]
    ecs.stop_task(cluster=CLUSTER, task=task)

    assert "currentServiceRevisions" not in service(ecs)
    assert pinned(ecs, revision) == []
    assert digests(ecs, *ecs.list_tasks(cluster=CLUSTER)["taskArns"]) == [new]


def test_consistency_can_be_switched_off(aws: EmbeddedAWS, ecs: Any) -> None:
    """A container whose versionConsistency is disabled is not pinned."""
    push(aws, "1")
    container = {
        "name": "web",
        "image": image_uri(REPOSITORY, "1"),
        "memory": 128,
        "versionConsistency": "disabled",
    }
    ecs.create_cluster(clusterName=CLUSTER)
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    ecs.create_service(cluster=CLUSTER, serviceName="web", taskDefinition="web", desiredCount=1, launchType="FARGATE")

    assert pinned(ecs, service(ecs)["currentServiceRevisions"][0]["arn"]) == [None]


def test_lists_of_ecs_come_in_pages(aws: EmbeddedAWS, ecs: Any) -> None:
    """Services by ten, everything else by a hundred, or as many as are asked for; each of its own cluster."""
    for number in range(12):
        workloads.deploy_service(aws, CLUSTER, f"service-{number}", "nginx")
    workloads.deploy_service(aws, f"pre-{CLUSTER}", "other", "nginx")

    page = ecs.list_services(cluster=CLUSTER)
    assert len(page["serviceArns"]) == 10
    assert len(ecs.list_services(cluster=CLUSTER, nextToken=page["nextToken"])["serviceArns"]) == 2
    for operation, key, of_cluster, count in (
        ("list_clusters", "clusterArns", {}, 2),
        ("list_services", "serviceArns", {"cluster": CLUSTER}, 12),
        ("list_tasks", "taskArns", {"cluster": CLUSTER}, 12),
        ("list_task_definitions", "taskDefinitionArns", {}, 13),
        ("list_task_definition_families", "families", {}, 13),
    ):
        pages = [
            page[key] for page in ecs.get_paginator(operation).paginate(PaginationConfig={"PageSize": 5}, **of_cluster)
        ]
        assert [len(page) for page in pages[:-1]] == [5] * (len(pages) - 1)
        assert len({item for page in pages for item in page}) == count
        with pytest.raises(ClientError, match="maxResults"):
            getattr(ecs, operation)(maxResults=101, **of_cluster)


def test_descriptions_of_ecs_have_limits(ecs: Any) -> None:
    """Ten services, a hundred tasks and twenty service revisions in a call."""
    ecs.create_cluster(clusterName=CLUSTER)
    for operation, key, of_cluster, maximum in (
        ("describe_services", "services", {"cluster": CLUSTER}, 10),
        ("describe_tasks", "tasks", {"cluster": CLUSTER}, 100),
        ("describe_service_revisions", "serviceRevisionArns", {}, 20),
    ):
        describe = getattr(ecs, operation)
        assert len(describe(**of_cluster, **{key: ["x"] * maximum})["failures"]) == maximum
        with pytest.raises(ecs.exceptions.InvalidParameterException):
            describe(**of_cluster, **{key: ["x"] * (maximum + 1)})


def test_task_definitions_are_listed_by_family_status_and_order(aws: EmbeddedAWS, ecs: Any) -> None:
    """The newest first where it is asked for: revision 10 before 9. A family is a whole name."""
    arns = [workloads.register_task_definition(aws, "web", "nginx") for _ in range(11)]
    other = workloads.register_task_definition(aws, "web-old", "nginx")
    for arn in (arns[-1], other):
        ecs.deregister_task_definition(taskDefinition=arn)

    answer = ecs.list_task_definitions(familyPrefix="web", sort="DESC", status="ACTIVE", maxResults=2)
    assert answer["taskDefinitionArns"] == [arns[9], arns[8]]
    assert ecs.describe_task_definition(taskDefinition="web")["taskDefinition"]["revision"] == 10
    assert ecs.list_task_definition_families(status="ACTIVE")["families"] == ["web"]
    assert ecs.list_task_definition_families(familyPrefix="web-")["families"] == ["web-old"]


def test_a_function_keeps_the_digest_of_its_last_update(aws: EmbeddedAWS) -> None:
    """And a published version that with which it was published."""
    functions = aws.client("lambda")

    def resolved(qualifier: str) -> str:
        return functions.get_function(FunctionName="job", Qualifier=qualifier)["Code"]["ResolvedImageUri"]

    old = push(aws, "1")
    assert workloads.deploy_function(aws, "job", image_uri(REPOSITORY, "1")) == "$LATEST"
    assert functions.publish_version(FunctionName="job")["Version"] == "1"
    new = push(aws, "1")
    assert resolved("$LATEST") == resolved("1") == image_uri(REPOSITORY, digest=old)

    assert workloads.deploy_function(aws, "job", image_uri(REPOSITORY, digest=new), publish=True) == "2"
    assert [resolved(qualifier) for qualifier in ("1", "2", "$LATEST")] == [
        image_uri(REPOSITORY, digest=digest) for digest in (old, new, new)
    ]
    assert functions.get_function(FunctionName="job", Qualifier="1")["Code"]["ImageUri"] == image_uri(REPOSITORY, "1")
    with pytest.raises(functions.exceptions.InvalidParameterValueException, match="does not exist"):
        workloads.deploy_function(aws, "job", image_uri(REPOSITORY, "none"))


def test_functions_are_listed_in_pages(aws: EmbeddedAWS) -> None:
    """Of fifty at most, whatever is asked for; with all versions where these are asked for."""
    push(aws, "1")
    functions = aws.client("lambda")
    for number in range(26):
        workloads.deploy_function(aws, f"job-{number}", image_uri(REPOSITORY, "1"), publish=True)

    page = functions.list_functions(FunctionVersion="ALL", MaxItems=1000)
    rest = functions.list_functions(FunctionVersion="ALL", Marker=page["NextMarker"])
    listed = [function["FunctionArn"] for function in page["Functions"] + rest["Functions"]]
    assert len(page["Functions"]) == 50
    assert "NextMarker" not in rest
    ours = {arn for arn in listed if ":job-" in arn}
    assert len(ours) == 52
    assert {arn.rpartition(":")[2] for arn in ours} == {"$LATEST", "1"}


def test_inspector_lists_images_in_use(aws: EmbeddedAWS, ecs: Any) -> None:
    """By repository and by count, in pages of two hundred at most."""
    inspector = aws.client("inspector2")
    used, unused = push(aws, "1", "latest"), push(aws, "2")
    workloads.report_use(aws, REPOSITORY, used, 3)
    workloads.report_use(aws, REPOSITORY, unused, 0, days=5)
    for number in range(200):
        workloads.report_use(aws, "other", f"sha256:{number:064x}", account_id="210987654321")

    def coverage(**criteria: Any) -> list[Json]:
        ecr_images = {"resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}]}
        pages = inspector.get_paginator("list_coverage").paginate(filterCriteria=ecr_images | criteria)
        return [resource for page in pages for resource in page["coveredResources"]]

    in_use = {"ecrImageInUseCount": [{"lowerInclusive": 1}]}
    here = {"ecrRepositoryName": [{"comparison": "EQUALS", "value": REPOSITORY}]}
    [image] = coverage(**in_use, **here)
    assert image["resourceId"] == f"arn:aws:ecr:us-east-1:123456789012:repository/{REPOSITORY}/{used}"
    assert (image["accountId"], image["scanType"]) == ("123456789012", "PACKAGE")
    assert image["resourceMetadata"]["ecrImage"]["tags"] == ["1", "latest"]
    assert image["resourceMetadata"]["ecrImage"]["inUseCount"] == 3
    assert image["resourceMetadata"]["ecrImage"]["lastInUseAt"].year >= 2024
    assert len(coverage(**in_use)) == 201
    assert len(coverage(**here)) == 2
    assert len(inspector.list_coverage()["coveredResources"]) == 200
    with pytest.raises(inspector.exceptions.ValidationException):
        coverage(ecrRepositoryName=here["ecrRepositoryName"] * 11)

    aws.reset()
    assert inspector.list_coverage()["coveredResources"] == []
    assert ecs.list_clusters()["clusterArns"] == []


def test_replication_rules_keep_their_settings(aws: EmbeddedAWS) -> None:
    """There may be several, and each says whether it replicates deletions; none goes to the registry itself."""
    ecr = aws.client("ecr")
    rules: list[Json] = [
        {
            "destinations": [{"region": "eu-west-1", "registryId": "123456789012"}],
            "repositoryFilters": [{"filter": "team/", "filterType": "PREFIX_MATCH"}],
            "deleteReplication": {"enabled": enabled},
        }
        for enabled in (True, False)
    ]
    ecr.put_replication_configuration(replicationConfiguration={"rules": rules})
    assert ecr.describe_registry()["replicationConfiguration"]["rules"] == rules

    itself: Json = {"destinations": [{"region": "us-east-1", "registryId": "123456789012"}]}
    with pytest.raises(ecr.exceptions.InvalidParameterException):
        ecr.put_replication_configuration(replicationConfiguration={"rules": [rules[1], itself]})
    assert ecr.describe_registry()["replicationConfiguration"]["rules"] == rules
