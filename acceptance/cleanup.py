"""Finds what runs have made, by its tag, and removes it. Nothing without the tag is removed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from . import dead_letters, replication, repositories
from .aws import Clients, ignoring
from .inbox import unsubscribe
from .names import MARK, ROLE_PATH, TAG, run_in, run_of
from .stack import Stack

GONE = ("NotFound", "NonExistent", "DoesNotExist", "NoSuchEntity")
"""Parts of the codes by which services say that something is not there, or not any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a run has made."""

    kind: str
    name: str
    run: str
    """The id of that run."""
    remove: Callable[[], object]


def clean(clients: Clients, stack: Stack, prefix: str, run: str, say: Callable[[str], None]) -> int:
    """Removes what the runs of a stack have made, or one of them; returns how much could not be removed."""
    failed = 0
    for find in FINDERS:
        try:
            found = [one for one in find(clients, stack, prefix) if one.run and run in {"", one.run}]
        except (ClientError, BotoCoreError) as error:
            say(f"  not looked for: {find.__name__}: {error}")
            failed += 1
            continue
        for one in found:
            try:
                with ignoring(*GONE):
                    one.remove()
            except (ClientError, BotoCoreError) as error:
                say(f"  not removed: {one.kind} {one.name}: {error}")
                failed += 1
            else:
                say(f"  removed {one.kind} {one.name}")
    return failed


def subscriptions(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Subscriptions take no tag: those are meant whose endpoint is a queue of a run."""
    pages = clients("sns").get_paginator("list_subscriptions_by_topic")
    for page in pages.paginate(TopicArn=stack.outputs["NotificationTopicArn"]):
        for subscription in page["Subscriptions"]:
            queue, arn = subscription["Endpoint"].rpartition(":")[2], subscription["SubscriptionArn"]
            yield Found("subscription of", queue, run_in(queue), partial(unsubscribe, clients, arn))


def rules(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Rules on the bus of results."""
    events, bus = clients("events"), stack.parameters.get("ResultEventBusName", "default")
    for rule in events.list_rules(NamePrefix=MARK, EventBusName=bus)["Rules"]:
        tags = events.list_tags_for_resource(ResourceARN=rule["Arn"])["Tags"]
        yield Found("rule", rule["Name"], _run(tags, stack), partial(_remove_rule, events, bus, rule["Name"]))


def schedule_groups(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Schedules take no tag, but their group does, with which they go."""
    scheduler = clients("scheduler")
    for group in scheduler.list_schedule_groups(NamePrefix=MARK)["ScheduleGroups"]:
        tags = scheduler.list_tags_for_resource(ResourceArn=group["Arn"])["Tags"]
        remove = partial(scheduler.delete_schedule_group, Name=group["Name"])
        yield Found("schedule group", group["Name"], _run(tags, stack), remove)


def functions(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Functions, and what reads queues for them."""
    lambda_ = clients("lambda")
    for page in lambda_.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            name = function["FunctionName"]
            if not name.startswith(MARK):
                continue
            tags = lambda_.list_tags(Resource=function["FunctionArn"])["Tags"]
            yield Found(
                "function", name, run_of(tags.get(TAG, ""), stack.name), partial(remove_function, clients, name)
            )


def queues(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Queues in which notices and events arrive."""
    sqs = clients("sqs")
    pages = sqs.get_paginator("list_queues").paginate(QueueNamePrefix=MARK)
    for url in {url for page in pages for url in page.get("QueueUrls", [])} | clients.made["queue"]:
        with ignoring(*GONE):
            tags = sqs.list_queue_tags(QueueUrl=url).get("Tags", {})
            run = run_of(tags.get(TAG, ""), stack.name)
            yield Found("queue", url.rpartition("/")[2], run, partial(sqs.delete_queue, QueueUrl=url))


def repositories_here(clients: Clients, stack: Stack, prefix: str) -> Iterator[Found]:
    """Repositories with all their images."""
    yield from _repositories(clients("ecr"), stack, prefix)


def roles(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Roles with their policies."""
    iam = clients("iam")
    pages = iam.get_paginator("list_roles").paginate(PathPrefix=ROLE_PATH)
    for name in {role["RoleName"] for page in pages for role in page["Roles"]} | clients.made["role"]:
        with ignoring(*GONE):
            tags = iam.list_role_tags(RoleName=name)["Tags"]
            yield Found("role", name, _run(tags, stack), partial(_remove_role, iam, name))


def replicated(clients: Clients, stack: Stack, prefix: str) -> Iterator[Found]:
    """The replication rules of runs, and the repositories in those regions."""
    for rule in replication.rules(clients("ecr"), prefix):
        run = rule.name.removeprefix(prefix).split("/")[0]
        for destination in rule.regions:
            yield from _repositories(clients("ecr", destination), stack, prefix)
        yield Found("replication rule", rule.name, run, partial(replication.remove, clients("ecr"), rule.name))


def letters(clients: Clients, stack: Stack, _: str) -> Iterator[Found]:
    """Dead letters of requests that a run has sent."""
    for letter in dead_letters.read(clients, stack):
        yield Found("dead letter", letter.message_id, letter.run, partial(dead_letters.delete, clients, stack, letter))


FINDERS = (
    subscriptions, rules, schedule_groups, functions, queues, replicated, repositories_here, roles, letters,
)  # fmt: skip
"""In the order in which things are removed: what sends to others goes before these, roles go last."""


def remove_function(clients: Clients, name: str) -> None:
    """Deletes a function of a run, and before it what reads queues for it."""
    lambda_ = clients("lambda")
    for mapping in lambda_.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
        with ignoring("NotFound", "InUse"):
            lambda_.delete_event_source_mapping(UUID=mapping["UUID"])
    lambda_.delete_function(FunctionName=name)


def _repositories(ecr: Any, stack: Stack, prefix: str) -> Iterator[Found]:
    for name, arn in repositories.under(ecr, prefix):
        run = run_of(repositories.tags_of(ecr, arn).get(TAG, ""), stack.name)
        yield Found("repository", name, run, partial(ecr.delete_repository, repositoryName=name, force=True))


def _remove_rule(events: Any, bus: str, name: str) -> None:
    events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
    events.delete_rule(Name=name, EventBusName=bus)


def _remove_role(iam: Any, name: str) -> None:
    for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=policy)
    iam.delete_role(RoleName=name)


def _run(tags: list[dict[str, str]], stack: Stack) -> str:
    return run_of({tag["Key"]: tag["Value"] for tag in tags}.get(TAG, ""), stack.name)
