"""The example for result events: its rules take what they should, none is lost, and its README reads them."""

import json
import re
import shutil
import subprocess
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]  # ships no types
import pytest
from botocore import xform_name
from moto.events.models import EventPattern

from handler.models.event_types import REJECTED, RESULTS
from handler.notifications.advice import needs_action
from tests.examples import ROOT, Json, resolve, shell_blocks, stack, template
from tests.policies import as_list, verdict

EXAMPLE = template("results/template.yaml")
RESOURCES = EXAMPLE["Resources"]
README = (ROOT / "examples" / "results" / "README.md").read_text()
SCHEMAS = {path.name.split(".")[0]: json.loads(path.read_text()) for path in (ROOT / "events" / "schemas").iterdir()}

SOURCE = "ecr-image-deletion"
NAMES = {
    "SourceName": SOURCE,
    **{f"{name}.Arn": f"arn:{name}" for name in ("AuditRule", "TicketRule", "AuditStream", "Tickets", "Undelivered")},
    "AuditBucket.Arn": "arn:aws:s3:::bucket",
}


def rule(name: str) -> Json:
    """A rule of the example."""
    resolved: Json = resolve(RESOURCES[name]["Properties"], NAMES)
    return resolved


def event(kind: str, source: str = SOURCE, account: str = "123456789012", **data: Any) -> Json:
    """As much of an event as rules look at."""
    return {"source": source, "account": account, "detail-type": kind, "detail": {"metadata": {}, "data": data}}


def matches(pattern: Json, event: Json) -> bool:
    """Whether a rule with this pattern takes the event, as moto judges."""
    return bool(EventPattern.load(json.dumps(pattern)).matches_event(event))


def statements(policy: Any) -> list[Any]:
    """The statements of a policy, with every reference filled in."""
    return as_list(resolve(policy, NAMES)["Statement"])


def test_the_audit_trail_has_every_result_of_the_stack() -> None:
    """And nothing that another account or another stack put on the bus."""
    pattern = rule("AuditRule")["EventPattern"]
    for kind in RESULTS:
        assert matches(pattern, event(kind))
    assert not matches(pattern, event("ECR Image Deletion Request"))
    for name in ("AuditRule", "TicketRule"):
        assert not matches(rule(name)["EventPattern"], event(REJECTED, source="another"))
        assert not matches(rule(name)["EventPattern"], event(REJECTED, account="999999999999"))


@pytest.mark.parametrize("kind", sorted(RESULTS))
@pytest.mark.parametrize("needed", [True, False])
def test_what_needs_a_person_makes_a_ticket(kind: str, needed: bool) -> None:  # noqa: FBT001
    """The function says so of every kind of result."""
    assert matches(rule("TicketRule")["EventPattern"], event(kind, actionRequired=needed)) == needed


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_every_result_says_whether_it_needs_a_person(schema: Json) -> None:
    """An event without it would never match."""
    assert "actionRequired" in schema["properties"]["data"]["required"]


def test_codes_that_are_left_alone_are_codes() -> None:
    """The README names those that make no ticket."""
    reference = (ROOT / "docs" / "reference.md").read_text()
    [row] = [line for line in README.splitlines() if line.startswith("| completed |")]
    codes = re.findall(r"`(\w+)`", row)
    assert len(codes) == 4
    for code in codes:
        assert f"| `{code}` |" in reference
        assert not needs_action({"type": "failure", "failed": 1, "failuresByCode": {code: 1}})


@pytest.mark.parametrize(("name", "target"), [("AuditRule", "AuditStream"), ("TicketRule", "Tickets")])
def test_events_arrive_whole_or_are_kept(name: str, target: str) -> None:
    """What cannot be delivered within a day is a dead letter, with an alarm."""
    [each] = rule(name)["Targets"]
    assert each["Arn"] == f"arn:{target}"
    assert each["DeadLetterConfig"] == {"Arn": "arn:Undelivered"}
    assert each["RetryPolicy"]["MaximumEventAgeInSeconds"] == 86400
    assert not each.keys() & {"Input", "InputPath", "InputTransformer"}
    [dimension] = RESOURCES["UndeliveredAlarm"]["Properties"]["Dimensions"]
    assert dimension["Value"] == {"Fn::GetAtt": ["Undelivered", "QueueName"]}


@pytest.mark.parametrize(
    ("queue", "rules"), [("Tickets", {"TicketRule"}), ("Undelivered", {"TicketRule", "AuditRule"})]
)
def test_only_the_rules_send_to_the_queues(queue: str, rules: set[str]) -> None:
    """Of all that EventBridge may do for others, and each to its own queue."""
    policy = statements(RESOURCES[f"{queue}Policy"]["Properties"]["PolicyDocument"])
    sends = {"action": "sqs:SendMessage", "resource": f"arn:{queue}", "principal": "events.amazonaws.com"}
    for name in ("TicketRule", "AuditRule", "another"):
        expected = "allowed" if name in rules else "not mentioned"
        assert verdict(policy, context={"aws:SourceArn": f"arn:{name}"}, **sends) == expected
    assert RESOURCES[queue]["Properties"]["SqsManagedSseEnabled"] is True


def test_a_ticket_that_nobody_takes_ends_among_the_dead_letters() -> None:
    """Where it stays longer than on the queue, for its age counts from the first send."""
    tickets, undelivered = (RESOURCES[name]["Properties"] for name in ("Tickets", "Undelivered"))
    assert tickets["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["Undelivered", "Arn"]}
    assert tickets["MessageRetentionPeriod"] < undelivered["MessageRetentionPeriod"]


def test_the_rules_role_only_writes_to_the_stream() -> None:
    """And only EventBridge has it, for this account."""
    role = RESOURCES["AuditRuleRole"]["Properties"]
    [statement] = statements(role["Policies"][0]["PolicyDocument"])
    assert set(statement["Action"]) == {"firehose:PutRecord", "firehose:PutRecordBatch"}
    assert statement["Resource"] == "arn:AuditStream"
    [trust] = statements(role["AssumeRolePolicyDocument"])
    assert trust["Principal"] == {"Service": "events.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_the_streams_role_writes_where_the_stream_does_and_reads_nothing() -> None:
    """Nor can it delete what is there."""
    role = RESOURCES["AuditStreamRole"]["Properties"]
    policy = statements(role["Policies"][0]["PolicyDocument"])
    destination = RESOURCES["AuditStream"]["Properties"]["ExtendedS3DestinationConfiguration"]
    for prefix in (destination["Prefix"], destination["ErrorOutputPrefix"]):
        resource = f"arn:aws:s3:::bucket/{prefix}object"
        for action, expected in (("s3:PutObject", "allowed"), ("s3:GetObject", "not mentioned")):
            assert verdict(policy, action=action, resource=resource, context={}) == expected
    assert not [action for each in policy for action in as_list(each["Action"]) if "Delete" in action or "*" in action]
    [trust] = statements(role["AssumeRolePolicyDocument"])
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "123456789012"}}


def test_the_trail_has_one_event_a_line() -> None:
    """Athena reads lines, and EventBridge ends none."""
    stream = RESOURCES["AuditStream"]["Properties"]
    processing = stream["ExtendedS3DestinationConfiguration"]["ProcessingConfiguration"]
    assert processing == {"Enabled": True, "Processors": [{"Type": "AppendDelimiterToRecord"}]}
    assert stream["DeliveryStreamEncryptionConfigurationInput"] == {"KeyType": "AWS_OWNED_CMK"}
    day = stream["ExtendedS3DestinationConfiguration"]["Prefix"]
    assert day == "results/day=!{timestamp:yyyy-MM-dd}/"
    assert "PARTITIONED BY (day string)" in README
    assert "'projection.day.format' = 'yyyy-MM-dd'" in README


def test_the_bucket_is_private_encrypted_and_outlives_the_stack() -> None:
    """It keeps events for the days that are asked for, and over encrypted connections alone."""
    bucket = RESOURCES["AuditBucket"]
    properties = bucket["Properties"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    [encryption] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    [lifecycle] = properties["LifecycleConfiguration"]["Rules"]
    assert lifecycle["ExpirationInDays"] == {"Ref": "RetentionDays"}
    policy = statements(RESOURCES["AuditBucketPolicy"]["Properties"]["PolicyDocument"])
    for resource in ("arn:aws:s3:::bucket", "arn:aws:s3:::bucket/results/x"):
        context = {"aws:SecureTransport": "false"}
        assert verdict(policy, action="s3:GetObject", resource=resource, context=context) == "denied"


def test_defaults_fit_the_stacks_own() -> None:
    """Who deploys both as the documents say need name neither."""
    parameters, own = EXAMPLE["Parameters"], stack()["Parameters"]
    assert parameters["EventBusName"]["Default"] == own["ResultEventBusName"]["Default"]
    assert parameters["EventBusName"]["AllowedPattern"] == own["ResultEventBusName"]["AllowedPattern"]
    assert parameters["SourceName"]["Default"] == SOURCE
    assert "all" in own["ResultEvents"]["AllowedValues"]
    assert "`ResultEvents=all`" in README


def test_the_query_reads_what_is_in_the_events() -> None:
    """Of Completed, as it asks for its types alone."""
    [table, query] = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    [name] = re.findall(r"CREATE EXTERNAL TABLE (\w+)", table)
    assert f"FROM {name}\n" in query
    properties = SCHEMAS["completed"]["properties"]["data"]["properties"]
    paths = set(re.findall(r"'\$\.([\w.]+)'", query))
    assert {"time", *(f"detail.data.{name}" for name in ("origin.sender", "origin.source", "imageIds"))} <= paths
    for path in paths - {"time"}:
        known: Json = {"properties": {"detail": {"properties": {"data": {"properties": properties}}}}}
        for member in path.split("."):
            known = known["properties"][member]
            known = SCHEMAS["completed"]["definitions"]["origin"] if "$ref" in known else known
    assert set(re.findall(r"'(report|failure|dryRun)'", query)) == set(properties["type"]["enum"]) - {"dryRun"}


def test_what_a_ticket_is_about_is_in_the_events() -> None:
    """The keys by which its reader finds the ticket, and the request to send."""
    known = {name for schema in SCHEMAS.values() for name in schema["properties"]["data"]["properties"]}
    named = set(re.findall(r"`detail\.data\.(\w+)", README))
    assert named >= {"partOf", "requestId", "origin", "retryRequest"}
    assert named <= known
    assert "idempotencyKey" in SCHEMAS["completed"]["properties"]["metadata"]["properties"]


def test_the_commands_exist() -> None:
    """With their options, by the AWS SDK's own description of each service."""
    connect: Any = boto3.Session("testing", "testing", region_name="eu-west-1").client
    text = "\n".join(shell_blocks(README)).replace("\\\n", " ")
    checked = set()
    for service, command, rest in re.findall(r"aws (\w+) ([a-z-]+)(.*)", text):
        if (service, command) in {("cloudformation", "deploy"), ("s3", "ls")}:  # the CLI's own
            continue
        model = connect(service).meta.service_model
        operations = {xform_name(name, "-"): name for name in model.operation_names}
        shape = model.operation_model(operations[command]).input_shape
        options = {xform_name(name, "-") for name in shape.members}
        for option in re.findall(r" --([a-z-]+)", rest.partition(" jq ")[0]):
            assert option in options | {"query", "output"}, f"{service} {command} --{option}"
        checked.add(command)
    assert checked >= {"lookup-events", "list-roles", "receive-message", "invoke"}


def test_a_role_is_found_by_the_id_in_the_sender() -> None:
    """As IAM lists them."""
    [query] = re.findall(r'list-roles --query "([^"]+)"', README)
    roles = {"Roles": [{"RoleId": "AROAOTHER", "Arn": "other"}, {"RoleId": "AROAEXAMPLEID", "Arn": "sender"}]}
    assert jmespath.search(query, roles) == ["sender"]


def test_the_deletion_is_found_in_cloudtrail() -> None:
    """By repository and digest, and with the user agent that the function has."""
    [script] = re.findall(r"--arg digest sha256:0123 '(.*?)'\n```", README.replace("```sh", "\n```sh"), re.DOTALL)
    [agent] = re.findall(r'contains\("(.+?)"\)', script)
    assert f'user_agent="{agent}"' in (ROOT / "src" / "handler" / "settings.py").read_text()
    if not (jq := shutil.which("jq")):
        pytest.skip("jq is not installed")
    command = [jq, "--compact-output", "--arg", "repository", "team/app", "--arg", "digest", "sha256:0123", script]

    def entry(digest: str = "sha256:0123", **members: Any) -> str:
        members = {"responseElements": {"imageIds": [{"imageDigest": digest}], "failures": []}, **members}
        request = {"repositoryName": "team/app", "imageIds": [{"imageTag": "v1"}]}
        return json.dumps(
            {"userAgent": agent, "userIdentity": {"arn": "role"}, "requestParameters": request, **members}
        )

    entries = [
        entry(),
        entry("sha256:4567"),
        entry(responseElements=None),
        entry(requestParameters={"repositoryName": "team/web"}),
        entry(userAgent="aws-cli/2"),
        entry(userAgent=None),
    ]
    run = subprocess.run(command, input=json.dumps(entries), capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert [each["function"] for each in found] == [True, False, False]
    assert {each["by"] for each in found} == {"role"}
