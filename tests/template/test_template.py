"""Checks of the template that no scanner makes, and that each of them finds what it is for."""
# ruff: noqa: D103  # the checks are called by what they demand

import copy
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.shared import constants

from handler.settings import Settings
from handler.step_table import CLAIM_SECONDS
from handler.usage.refresh import SCHEDULE_MINUTES
from handler.usage.settings import ReaderSettings
from tests.examples import NOTHING, resolve, stack
from tests.policies import as_list

type Template = dict[str, Any]
type Check = Callable[[Template], Iterator[str]]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text()
TEMPLATE: Template = stack()
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "src" / "handler").rglob("*.py")))

SIX_TIMES = 6
"""Function time-outs in a visibility time-out, as Lambda asks of its queues."""
RECEIVES, BULK_RECEIVES = 5, 3
"""Receives before a message is given up, as Lambda asks of its queues; fewer where one takes a quarter of an hour."""
MINUTE, HOUR, DAY = 60, 3_600, 86_400
ALARM_SECONDS = 7 * DAY
"""How far back an alarm of CloudWatch looks at most."""
PARAMETERS, IN_A_GROUP = 36, 6
"""The most there may be, in all and under one heading: who deploys reads the headings, and what he wants under them."""
VARIABLE_BYTES = 4_096
"""The bytes that Lambda takes of variables, names and values, in all."""
INLINE_POLICY_CHARACTERS = 10_240
"""The characters that IAM takes of policies within a role, in all, without white space."""
WITHOUT_RESOURCES = frozenset({
    "ecr:DescribeRegistry", "ecs:DescribeTaskDefinition", "ecs:ListClusters", "ecs:ListServices",
    "ecs:ListTaskDefinitionFamilies", "ecs:ListTaskDefinitions", "ecs:ListTasks", "inspector2:ListCoverage",
    "lambda:ListFunctions",
})  # fmt: skip
"""Actions that IAM allows for all of an account and region or not at all; ListTasks, else by container instances."""
STATEFUL = ("AWS::DynamoDB::Table", "AWS::Logs::LogGroup", "AWS::SNS::Topic", "AWS::SQS::Queue")
USAGE_ALARMS = 4
"""Those on sources that are not known: for each that is read, and for those that declare."""
NAMES = (
    "AlarmName DashboardName FunctionName GroupName LogGroupName Name QueueName RoleName RuleName TableName TopicName"
)
"""The properties that give a resource a name, of all the types in the template."""


# Resources


def of_type(template: Template, *types: str) -> dict[str, Any]:
    """The properties of each resource of these types, by its logical name."""
    return {
        name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] in types
    }


def functions(template: Template) -> dict[str, Any]:
    return of_type(template, "AWS::Serverless::Function")


def queue_events(template: Template) -> Iterator[tuple[str, Any, Any]]:
    """Each function's name and properties, and those of each of its queues."""
    for name, function in functions(template).items():
        for event in function["Events"].values():
            if event["Type"] == "SQS":
                yield name, function, event["Properties"]


def target(template: Template, reference: Any) -> tuple[str, Any]:
    """The logical name and the properties of what a !Ref or !GetAtt points at."""
    name: str = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
    return name, template["Resources"][name]["Properties"]


def chosen(value: Any, *, first: bool) -> Any:
    """A part of the template where all conditions hold, or none does."""
    match value:
        case {"Fn::If": [_, yes, no]}:
            return chosen(yes if first else no, first=first)
        case dict():
            return {k: c for k, v in value.items() if (c := chosen(v, first=first)) != {"Ref": NOTHING}}
        case list():
            return [c for v in value if (c := chosen(v, first=first)) != {"Ref": NOTHING}]
    return value


def policies(template: Template) -> Iterator[tuple[str, list[Any]]]:
    """Where each policy is, and its statements: where all conditions hold, and where none does."""
    kinds = ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    for reading in (chosen(template, first=True), chosen(template, first=False)):
        for name, properties in of_type(reading, "AWS::IAM::Role").items():
            yield f"{name} (trust)", properties["AssumeRolePolicyDocument"]["Statement"]
            for policy in properties.get("Policies", []):
                yield f"{name}/{policy['PolicyName']}", policy["PolicyDocument"]["Statement"]
        for name, properties in of_type(reading, *kinds).items():
            yield name, properties["PolicyDocument"]["Statement"]


def alarms(template: Template) -> dict[str, Any]:
    return of_type(template, "AWS::CloudWatch::Alarm")


def dead_letter_queues(template: Template) -> set[str]:
    """Where queues, rules, schedules and failed invocations put what they cannot deliver."""
    return {
        target(template, properties["RedrivePolicy"]["deadLetterTargetArn"])[0]
        for properties in of_type(template, "AWS::SQS::Queue").values()
        if "RedrivePolicy" in properties
    }


# The checks: each yields what is wrong


def numbers(template: Template, *parts: Any) -> Iterator[list[int]]:
    """What parts of the template are, for each value of the parameter that they follow from; at least once."""
    text = json.dumps(parts)
    named = [name for name in template["Parameters"] if f'"{name}"' in text]
    assert len(named) <= 1
    for value in template["Parameters"][named[0]]["AllowedValues"] if named else [None]:
        yield [_number(template, part, value) for part in parts]


def _number(template: Template, part: Any, value: Any) -> int:
    match part:
        case {"Ref": _}:
            return int(value)
        case {"Fn::FindInMap": [name, _, key]}:
            return int(template["Mappings"][name].get(str(value), {}).get(key, 0))
    return int(part)


def the_queue_waits_six_times_as_long_as_the_function_may_take(template: Template) -> Iterator[str]:
    for name, function, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        hidden = properties.get("VisibilityTimeout", 30)
        for visibility, timeout in numbers(template, hidden, function["Timeout"]):
            if visibility < SIX_TIMES * timeout:
                yield f"{queue} hands out a message again while {name} may still be at work on it for {timeout} s"


def a_message_is_received_several_times(template: Template) -> Iterator[str]:
    for _, _, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        needed = BULK_RECEIVES if queue == "BulkQueue" else RECEIVES
        if properties.get("RedrivePolicy", {}).get("maxReceiveCount", 0) < needed:
            yield f"{queue} gives a message up before it was received {needed} times"


def what_waits_longer_than_its_receives_take_is_noticed(template: Template) -> Iterator[str]:
    for _, _, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        [alarm] = [
            alarm
            for alarm in alarms(template).values()
            if alarm.get("MetricName") == "ApproximateAgeOfOldestMessage"
            and alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
        ] or [{"Threshold": 0, "Statistic": None, "ComparisonOperator": None}]
        receives = properties["RedrivePolicy"]["maxReceiveCount"]
        for visibility, threshold in numbers(template, properties["VisibilityTimeout"], alarm["Threshold"]):
            if threshold != visibility * receives:
                yield f"what waits on {queue} for {threshold} s has had {threshold / visibility:.1f} receives"
        if (alarm["Statistic"], alarm["ComparisonOperator"]) != ("Maximum", "GreaterThanThreshold"):
            yield f"the oldest message on {queue} is not what is looked at"


def the_lanes_differ_in_time_alone(template: Template) -> Iterator[str]:
    own = {"Description", "Timeout", "MemorySize", "RecursiveLoop", "Events"}
    named, bulk = (functions(template)[name] for name in ("DeletionFunction", "BulkFunction"))
    for key in (named.keys() | bulk.keys()) - own:
        if named.get(key) != bulk.get(key):
            yield f"requests are carried out in another way in one of the lanes: {key}"
    for name in ("DeletionFunction", "BulkFunction"):
        whole_ = template["Resources"][name]
        if "Condition" in whole_ or whole_["Metadata"]["BuildMethod"] != "makefile":
            yield f"{name} is not always there, or is built in another way"
    queues = {name: target(template, event["Queue"])[0] for name, _, event in queue_events(template)}
    if queues != {"DeletionFunction": "RequestQueue", "BulkFunction": "BulkQueue"}:
        yield f"the functions take from {queues}"
    sizes = {name: event["BatchSize"] for name, _, event in queue_events(template)}
    if sizes.get("BulkFunction") != 1:
        yield "a selection waits for another one in its batch, or has to share its time with it"


def only_the_stack_itself_sends_to_the_bulk_queue(template: Template) -> Iterator[str]:
    bulk = {"Fn::GetAtt": ["BulkQueue", "Arn"]}
    senders = set[str]()
    for reading in (chosen(template, first=True), chosen(template, first=False)):
        for where, statements in policies(reading):
            for statement in statements:
                sends = statement["Effect"] == "Allow" and "sqs:SendMessage" in as_list(statement["Action"])
                if sends and bulk in as_list(statement["Resource"]):
                    senders.add(f"{where}: {statement['Sid']}")
        targets = {
            name: [target_["Arn"] for target_ in properties.get("Targets", [properties.get("Target")])]
            for name, properties in of_type(reading, "AWS::Events::Rule", "AWS::Scheduler::Schedule").items()
        }
        if sent := {name for name, arns in targets.items() if bulk in arns} - {"GracePeriodRule", "RequestSchedule"}:
            yield f"{sent} put on the bulk queue what others have written"
    for sender in senders - {
        "FunctionRole/delete-images: SendBulkRequests",
        "ScheduleRole/send-requests: SendRequests",
        "BulkQueuePolicy: GracePeriodRuleMaySend",
    }:
        yield f"{sender} lets others name the key of a request"


def the_functions_send_to_the_bulk_queue_alone(template: Template) -> Iterator[str]:
    for name, function, _ in queue_events(template):
        if function["Environment"]["Variables"].get("BULK_QUEUE_URL") != {"Ref": "BulkQueue"}:
            yield f"{name} sends what takes minutes elsewhere"
        _, role = target(template, function["Role"])
        queues = {
            arn["Fn::GetAtt"][0]
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "sqs:SendMessage" in as_list(statement.get("Action", []))
            for arn in as_list(statement["Resource"])
        }
        if queues != {"BulkQueue", "DeadLetterQueue"}:
            yield f"{name} may send to {sorted(queues)}: a message on the request queue could come from itself"


def dead_letters_are_kept_longer_than_requests(template: Template) -> Iterator[str]:
    four_days = 345600  # SQS's default
    for _, _, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        name, dead_letters = target(template, properties["RedrivePolicy"]["deadLetterTargetArn"])
        kept = dead_letters.get("MessageRetentionPeriod", four_days)
        if kept <= properties.get("MessageRetentionPeriod", four_days):
            yield f"{name} counts from the first send: what waited long in {queue} is lost there before it is read"
        if kept + properties.get("MessageRetentionPeriod", four_days) > CLAIM_SECONDS:
            yield f"{name} keeps requests longer than they are remembered: redriven, they would be carried out again"


def one_failed_record_keeps_only_itself_on_the_queue(template: Template) -> Iterator[str]:
    for name, _, event in queue_events(template):
        if event.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name} cannot report to Lambda which messages failed: all are deleted, or all are repeated"


def every_log_group_forgets(template: Template) -> Iterator[str]:
    groups = of_type(template, "AWS::Logs::LogGroup")
    for name, properties in groups.items():
        if "RetentionInDays" not in properties:
            yield f"{name} keeps its entries for ever"
    for name, properties in functions(template).items():
        if properties.get("LoggingConfig", {}).get("LogGroup", {}).get("Ref") not in groups:
            yield f"{name} writes to a log group that Lambda makes, and that keeps its entries for ever"


def every_parameter_and_output_is_described(template: Template) -> Iterator[str]:
    for section in ("Parameters", "Outputs"):
        for name, entry in template[section].items():
            if not entry.get("Description", "").endswith("."):
                yield f"{section}: {name} has no description, or one that is no sentence"


def every_parameter_is_constrained(template: Template) -> Iterator[str]:
    for name, entry in template["Parameters"].items():
        if not {"AllowedPattern", "AllowedValues", "MinValue"} & entry.keys():
            yield f"{name} takes any value"
        if not entry.get("ConstraintDescription", "").startswith("must be"):
            yield f"{name} does not say what it takes"
        pattern, default = entry.get("AllowedPattern", ".*"), str(entry.get("Default", ""))
        if "Default" in entry and not re.fullmatch(pattern, default, re.DOTALL):
            yield f"{name} refuses its own default"


def every_parameter_has_its_place_in_the_console(template: Template) -> Iterator[str]:
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    for name in template["Parameters"].keys() | set(grouped):
        if grouped.count(name) != 1 or name not in template["Parameters"]:
            yield f"{name} is not in exactly one group"
    if interface["ParameterLabels"].keys() != template["Parameters"].keys():
        yield "a parameter has no label, or a label no parameter"


def nothing_may_be_deleted_by_default(template: Template) -> Iterator[str]:
    parameters = template["Parameters"]
    if "Default" in parameters["RepositoryPattern"]:
        yield "RepositoryPattern has a default"
    for name, value in {
        "ForeignRegistryIds": "",
        "EventBusName": "",
        "ScheduleExpression": "",
        "ScheduleRequest": "",
        "CanaryRepository": "",
        "AllowPercentInRequests": "false",
    }.items():
        if parameters[name]["Default"] != value:
            yield f"{name} opens a way to delete that nobody chose"
    for patterns in ("one/*", "one/*,2", "a,b,c,d,e"):
        expected = {f"repository/{pattern}" for pattern in patterns.split(",")}
        for where, statements in policies(template):
            for statement in statements:
                # Names, and settings of the registry.
                actions = set(as_list(statement["Action"])) - {"ecr:DescribeRepositories", "ecr:DescribeRegistry"}
                if not any(action.startswith(("ecr:", "*")) for action in actions):
                    continue
                accounts = statement.get("Condition", {}).get("StringEquals", {}).get("aws:ResourceAccount")
                arns = resolve(as_list(statement["Resource"]), {"RepositoryPattern": patterns})
                if {arn.rpartition(":")[2] for arn in arns} != expected:
                    yield f"{where}: {statement.get('Sid')} is not bounded by each of RepositoryPattern's patterns"
                elif not accounts and not all(":123456789012:" in arn for arn in arns):
                    yield f"{where}: {statement.get('Sid')} reaches into every account"


def a_schedule_says_what_it_deletes(template: Template) -> Iterator[str]:
    empty = {"Fn::Not": [{"Fn::Equals": [{"Ref": "ScheduleExpression"}, ""]}]}
    needed = {"Fn::Not": [{"Fn::Equals": [{"Ref": "ScheduleRequest"}, ""]}]}
    if not any(
        rule["RuleCondition"] == empty and needed in [assertion["Assert"] for assertion in rule["Assertions"]]
        for rule in template.get("Rules", {}).values()
    ):
        yield "a ScheduleExpression without a ScheduleRequest can be deployed"


def there_are_not_too_many_parameters(template: Template) -> Iterator[str]:
    if (count := len(template["Parameters"])) > PARAMETERS:
        yield f"there are {count} parameters, and {PARAMETERS} are too many to read already"
    for group in template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]:
        if len(group["Parameters"]) > IN_A_GROUP:
            yield f"there are too many parameters under {group['Label']['default']!r}"


def longest(entry: Mapping[str, Any]) -> str:
    """The longest value that a parameter can have."""
    values = [str(each) for each in entry.get("AllowedValues", [entry.get("MaxValue", "")])]
    return "x" * entry["MaxLength"] if "MaxLength" in entry else max(values, key=len)


def the_longest_values_fit(template: Template) -> Iterator[str]:
    values = {name: longest(entry) for name, entry in template["Parameters"].items()}
    # The longest that five repeated patterns can be: three of 256 characters, and two of 255.
    values["RepositoryPattern"] = f"{'x' * 256},{'x' * 255}"
    for name, function in functions(template).items():
        variables = resolve(function["Environment"]["Variables"], {**values, "BulkQueue": "x" * 120})
        if (size := len("".join(f"{key}{value}" for key, value in variables.items()))) > VARIABLE_BYTES:
            yield f"{name} can be given {size} bytes of variables"
    inline = [p["PolicyDocument"] for p in template["Resources"]["FunctionRole"]["Properties"]["Policies"]]
    inline += [
        policy["PolicyDocument"]
        for policy in of_type(template, "AWS::IAM::Policy").values()
        if policy["Roles"] == [{"Ref": "FunctionRole"}]
    ]
    arns = {f"{name}.Arn": "x" * 120 for name in template["Resources"]} | {"KmsKeyArn": "x" * 120}
    written = resolve(inline, {**values, **arns, "NotificationTopic": "x" * 120})
    if (size := len(json.dumps(written, separators=(",", ":")))) > INLINE_POLICY_CHARACTERS:
        yield f"the policies of FunctionRole can take {size} characters"


def no_permission_is_unbounded(template: Template) -> Iterator[str]:
    for where, statements in policies(template):
        for statement in statements:
            if statement["Effect"] != "Allow":
                continue
            if any(action == "*" or action.endswith(":*") for action in as_list(statement["Action"])):
                yield f"{where}: {statement.get('Sid')} allows every action"
            if "*" in as_list(statement.get("Resource")) and set(as_list(statement["Action"])) - WITHOUT_RESOURCES:
                yield f"{where}: {statement.get('Sid')} allows every resource"
            everybody = statement.get("Principal") in ("*", {"AWS": "*"})
            if everybody and "aws:PrincipalArn" not in statement.get("Condition", {}).get("ArnLike", {}):
                yield f"{where}: {statement.get('Sid')} allows everybody"


def steps_are_never_deleted(template: Template) -> Iterator[str]:
    for where, statements in policies(template):
        for statement in statements:
            if statement["Effect"] == "Allow" and "dynamodb:DeleteItem" in as_list(statement["Action"]):
                yield f"{where}: a deletion that is repeated by key alone could erase what a duplicate has stored since"


def every_statement_has_a_name_of_its_own(template: Template) -> Iterator[str]:
    for where, statements in policies(template):
        sids = [statement.get("Sid") for statement in statements]
        if None in sids or len(set(sids)) < len(sids):
            yield f"{where}: {sids}"


def every_role_is_bounded_and_known(template: Template) -> Iterator[str]:
    boundary = {"Fn::If": ["HasPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    for name, properties in of_type(template, "AWS::IAM::Role").items():
        if properties.get("PermissionsBoundary") != boundary:
            yield f"{name} is not bounded by PermissionsBoundaryArn"
        if properties.get("Path") != "/ecr-image-deletion/":
            yield f"{name} has no path by which policies of other accounts could name it and its successors"
        if "ManagedPolicyArns" in properties:
            yield f"{name} has policies that do not stand in the template"
    for name, properties in functions(template).items():
        if "Role" not in properties:
            yield f"SAM makes {name} a role that nothing bounds"


def schedules_alone_assume_their_role(template: Template) -> Iterator[str]:
    [statement_] = template["Resources"]["ScheduleRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    condition = statement_["Condition"]
    if condition.get("StringEquals") != {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}:
        yield "schedules of other accounts may assume ScheduleRole"
    if condition.get("ArnEquals") != {"aws:SourceArn": {"Fn::GetAtt": ["ScheduleGroup", "Arn"]}}:
        yield "schedules of other groups may assume ScheduleRole, or those of this one may not"


def queues_take_messages_from_nobody_else(template: Template) -> Iterator[str]:
    senders = {"aws:PrincipalArn": {"Ref": "SenderPrincipalArns"}}
    own_account = {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}
    for reading in (chosen(template, first=True), chosen(template, first=False)):
        protected = dict[str, list[Any]]()
        for properties in of_type(reading, "AWS::SQS::QueuePolicy").values():
            for queue in properties["Queues"]:
                protected[queue["Ref"]] = properties["PolicyDocument"]["Statement"]
        for name in of_type(reading, "AWS::SQS::Queue"):
            denied = [s for s in protected.get(name, []) if s["Effect"] == "Deny" and s["Principal"] == "*"]
            if not any(
                "sqs:SendMessage" in as_list(s["Action"])
                and (
                    s["Condition"].get("StringNotEquals") == own_account or s["Condition"].get("ArnNotLike") == senders
                )
                for s in denied
            ):
                yield f"{name} does not refuse senders that nobody named"
            if not any(s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}} for s in denied):
                yield f"{name} takes calls without TLS"


def topics_refuse_calls_without_tls(template: Template) -> Iterator[str]:
    protected = {
        topic["Ref"]
        for properties in of_type(template, "AWS::SNS::TopicPolicy").values()
        for topic in properties["Topics"]
        for statement in properties["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    }
    for name in of_type(template, "AWS::SNS::Topic").keys() - protected:
        yield f"{name} takes calls without TLS"


def everything_at_rest_is_encrypted_by_the_given_key(template: Template) -> Iterator[str]:
    key = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    table = {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": {"Ref": "KmsKeyArn"}}
    expected: dict[str, dict[str, Any]] = {
        "AWS::SQS::Queue": {
            "KmsMasterKeyId": key,
            "SqsManagedSseEnabled": {"Fn::If": ["HasKmsKey", {"Ref": "AWS::NoValue"}, True]},
        },
        "AWS::SNS::Topic": {"KmsMasterKeyId": key},  # and never alias/aws/sns, which CloudWatch may not use
        "AWS::DynamoDB::Table": {"SSESpecification": {"Fn::If": ["HasKmsKey", table, {"Ref": "AWS::NoValue"}]}},
        "AWS::Logs::LogGroup": {"KmsKeyId": key},
        "AWS::Serverless::Function": {"KmsKeyArn": key},
    }
    for kind, properties in expected.items():
        for name, found in of_type(template, kind).items():
            if {key: found.get(key) for key in properties} != properties:
                yield f"{name} is not encrypted by KmsKeyArn when it is given, or not by AWS when it is not"


def keys_are_used_through_services_alone_also_in_china(template: Template) -> Iterator[str]:
    for where, statements in policies(template):
        for statement in statements:
            if not any(action.startswith("kms:") for action in as_list(statement["Action"])):
                continue
            via = statement.get("Condition", {}).get("StringEquals", {}).get("kms:ViaService", [])
            for suffix in ("amazonaws.com", "amazonaws.com.cn"):
                services = resolve(via, {"AWS::URLSuffix": suffix})
                if not services or f"{services[0].split('.')[0]}.eu-west-1.{suffix}" not in services:
                    yield f"{where}: {statement.get('Sid')} cannot use the key by way of {suffix}, or in any other way"


def the_function_can_decrypt_its_variables(template: Template) -> Iterator[str]:
    for policy in ("FunctionKeyPolicy", "UsageKeyPolicy"):
        services = [
            resolve(statement["Condition"]["StringEquals"]["kms:ViaService"], {})
            for statement in template["Resources"][policy]["Properties"]["PolicyDocument"]["Statement"]
            if "kms:Decrypt" in as_list(statement["Action"])
        ]
        if not any("lambda.eu-west-1.amazonaws.com" in each for each in services):
            yield f"with a KmsKeyArn, the variables cannot be decrypted by {policy}"


def what_may_be_kept_is_said(template: Template) -> Iterator[str]:
    for name, resource_ in template["Resources"].items():
        if resource_["Type"] not in STATEFUL:
            continue
        policy = resource_.get("DeletionPolicy")
        if policy not in ("Retain", "Delete") or resource_.get("UpdateReplacePolicy") != policy:
            yield f"{name} does not say what becomes of it when the stack goes"
        if policy == "Retain" and any(
            "AWS::StackId" not in json.dumps(resource_["Properties"][key])
            for key in NAMES.split()
            if key in resource_["Properties"]
        ):
            yield f"{name} stays, and a stack of the same name could not be made again"


def several_stacks_stand_side_by_side(template: Template) -> Iterator[str]:
    for name, resource_ in template["Resources"].items():
        for key in NAMES.split():
            value = json.dumps(resource_["Properties"].get(key, "AWS::StackName"))
            if not any(own in value for own in ("AWS::StackName", '{"Ref"')):
                yield f"{name} has a name that another stack's has too"
    for name, function in functions(template).items():
        if function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] != {"Ref": "AWS::StackName"}:
            yield f"{name} counts under a name that another stack has too"


def rules_are_narrow_and_only_there_when_asked_for(template: Template) -> Iterator[str]:
    asked = {"Fn::Not": [{"Fn::Equals": [{"Ref": "EventBusName"}, ""]}]}
    prefix = [{"prefix": {"Ref": "EventRepositoryPrefix"}}]
    narrowed = {"$or": [{"repositoryName": prefix}, {"repositoryNames": prefix}]}  # or fan-outs would vanish
    requests = {"Fn::If": ["HasEventRepositoryPrefix", narrowed, {"Ref": NOTHING}]}
    declared = {
        "detail-type": ["ECR Images In Use"],
        "detail": {"source": {"Fn::Split": [",", {"Ref": "UsageSources"}]}},
    }
    for name, resource_ in template["Resources"].items():
        if resource_["Type"] != "AWS::Events::Rule":
            continue
        if "ScheduleExpression" in resource_["Properties"]:
            yield from _complaints_of_daily_rule(template, name)
            continue
        pattern = resource_["Properties"]["EventPattern"]
        if template["Conditions"].get(resource_.get("Condition")) != asked:
            yield f"{name} is there though nobody named a bus"
        if pattern.get("account") != [{"Ref": "AWS::AccountId"}]:
            yield f"{name} takes events of other accounts"
        if pattern.get("source") != {"Fn::If": ["HasEventSources", {"Ref": "EventSources"}, {"Ref": NOTHING}]}:
            yield f"{name} is not narrowed by EventSources"
        if pattern.get("detail") != {"Fn::If": ["HasRequestsOfPrefixAlone", narrowed, {"Ref": NOTHING}]}:
            yield f"{name} is not narrowed by EventRepositoryPrefix"
        both = [{"detail-type": ["ECR Image Deletion Request"], "detail": requests}, declared]
        if pattern.get("$or") != {"Fn::If": ["HasDeclaredUse", both, {"Ref": NOTHING}]}:
            yield f"{name} takes what other stacks' sources declare"


def _complaints_of_daily_rule(template: Template, name: str) -> Iterator[str]:
    rule = template["Resources"][name]
    if template["Conditions"].get(rule.get("Condition")) != {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "GracePeriodDays"}, "0"]}]
    }:
        yield f"{name} is there without a grace period"
    for target_ in rule["Properties"]["Targets"]:
        request = json.loads(target_["Input"])
        if request.get("selection", {}).get("countType") != "gracePeriodEnded" or "requestId" in request:
            yield f"{name} deletes more than the grace period has kept, or only once"


def what_sends_to_its_own_queue_may_do_so(template: Template) -> Iterator[str]:
    for name, function, event in queue_events(template):
        _, role = target(template, function["Role"])
        sends = [
            statement
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            if "sqs:SendMessage" in as_list(statement["Action"]) and event["Queue"] in as_list(statement["Resource"])
        ]
        if sends and function.get("RecursiveLoop") != "Allow":
            yield f"Lambda stops {name} after 16 turns"
        if not sends and function.get("RecursiveLoop") == "Allow":
            yield f"Lambda would not stop a loop of {name}, which has no turns"
    invoked = {
        target(template, statement["Resource"])[0]
        for policy in of_type(template, "AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement.get("Action") == "lambda:InvokeFunction"
    }
    for name, function in functions(template).items():
        if name in invoked and function.get("RecursiveLoop") != "Allow":
            yield f"Lambda stops {name} after 16 turns"


def selections_by_last_pull_are_not_defeated(template: Template) -> Iterator[str]:
    roles = {
        properties["PrincipalArn"]["Fn::GetAtt"][0]
        for properties in of_type(template, "AWS::ECR::PullTimeUpdateExclusion").values()
    }
    for name, function in functions(template).items():
        role, properties = target(template, function["Role"])
        if "ecr:BatchGetImage" in json.dumps(properties) and role not in roles:
            yield f"what {name} reads counts as pulled, so that nothing expires twice"


def packages_can_be_signed(template: Template) -> Iterator[str]:
    signed = {"Fn::If": ["HasCodeSigning", {"Ref": "CodeSigningConfigArn"}, {"Ref": NOTHING}]}
    for name, function in functions(template).items():
        if function.get("CodeSigningConfigArn") != signed:
            yield f"{name} takes packages of anybody"


def senders_find_what_they_need(template: Template) -> Iterator[str]:
    values = [output["Value"] for output in template["Outputs"].values()]
    for name, _, event in queue_events(template):
        queue = event["Queue"]["Fn::GetAtt"][0]
        for value in ({"Ref": queue}, {"Fn::GetAtt": [queue, "Arn"]}, {"Fn::GetAtt": [name, "Arn"]}):
            if value not in values:
                yield f"no output has {value}"
    for name, properties in of_type(template, "AWS::IAM::ManagedPolicy").items():
        if {"Ref": name} not in values:
            yield f"no output has the ARN of {name}"
        if "Roles" in properties or "Users" in properties:
            yield f"{name} is for those whom its owner chooses"
    if not of_type(template, "AWS::IAM::ManagedPolicy"):
        yield "there is no policy for senders"


def nothing_undeliverable_is_lost(template: Template) -> Iterator[str]:
    kept = dead_letter_queues(template)
    # One whose absence raises an alarm, under the same condition, need not be kept.
    absent = [r.get("Condition") for r in template["Resources"].values() if is_raised_by_absence(r)]
    schedules = {n: r for n, r in template["Resources"].items() if r["Type"] == "AWS::Scheduler::Schedule"}
    silent = [r["Properties"]["MetricName"] for r in template["Resources"].values() if is_raised_by_absence(r)]
    read = {"UsageFunction"} if silent.count("UsageKnown") == USAGE_ALARMS else set[str]()
    missed = {n for n, r in schedules.items() if r.get("Condition") in absent and "dryRun" in json.dumps(r)}

    def deliveries() -> Iterator[tuple[str, Any, Any]]:
        for name, properties in of_type(template, "AWS::Events::Rule").items():
            for rule_target in properties["Targets"]:
                yield name, rule_target.get("RetryPolicy"), rule_target.get("DeadLetterConfig", {}).get("Arn")
        for name, properties in of_type(template, "AWS::Scheduler::Schedule").items():
            schedule = properties["Target"]
            if name in missed:
                continue
            yield name, schedule.get("RetryPolicy"), schedule.get("DeadLetterConfig", {}).get("Arn")
        for name, properties in functions(template).items():
            config = properties.get("EventInvokeConfig", {})
            retries = "MaximumRetryAttempts" in config and "MaximumEventAgeInSeconds" in config
            # One that only reads says the same anew at its next run, and an alarm tells where none succeeds.
            destination = "unneeded" if name in read else None
            yield (
                name,
                retries,
                config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", destination),
            )

    for name, retries, destination in deliveries():
        if not retries:
            yield f"{name} does not say how often it tries again"
        if destination != "unneeded" and (destination is None or target(template, destination)[0] not in kept):
            yield f"{name} drops what it cannot deliver"


def is_raised_by_absence(resource_: Any) -> bool:
    """Whether a resource is an alarm that is raised when nothing happens."""
    properties = resource_["Properties"]
    return resource_["Type"] == "AWS::CloudWatch::Alarm" and properties.get("TreatMissingData") == "breaching"


def watched_metrics(properties: Any) -> Iterator[tuple[str, str, Any]]:
    """The namespace, the name and the dimensions of each metric that an alarm watches, or computes with."""
    for metric in properties.get("Metrics", []):
        if "MetricStat" in metric:
            yield from watched_metrics(metric["MetricStat"]["Metric"])
    if "MetricName" in properties:
        yield properties["Namespace"], properties["MetricName"], properties["Dimensions"]


def dead_letters_are_seen(template: Template) -> Iterator[str]:
    visible = "ApproximateNumberOfMessagesVisible"
    at_least_one = (1, "GreaterThanOrEqualToThreshold")
    queues = of_type(template, "AWS::SQS::Queue")
    for name in dead_letter_queues(template):
        first, more, old = False, False, False
        for properties in alarms(template).values():
            bound = (properties["Threshold"], properties["ComparisonOperator"])
            seconds = properties.get("Period", 0) * properties["EvaluationPeriods"]
            for _, metric, dimensions in watched_metrics(properties):
                if dimensions[0] != {"Name": "QueueName", "Value": {"Fn::GetAtt": [name, "QueueName"]}}:
                    continue
                computed = [each.get("Expression", "") for each in properties.get("Metrics", [])]
                counted = metric == visible and not computed and bound == at_least_one
                first |= counted and seconds <= MINUTE
                more |= metric == visible and any("DIFF" in each for each in computed) and bound == at_least_one
                # A dead letter's expiry counts from when it was first sent. Being read, it is not visible for a while.
                waited = max(queue.get("MessageRetentionPeriod", 0) for key, queue in queues.items() if key != name)
                expiry = queues[name]["MessageRetentionPeriod"] - waited
                longest_seen = properties.get("Statistic") == "Maximum" and properties.get("Period", 0) >= HOUR
                old |= counted and longest_seen and DAY < seconds <= min(expiry - DAY, ALARM_SECONDS)
        if not first:
            yield f"a letter in {name} raises no alarm"
        if not more:
            yield f"a second letter in {name} raises no alarm while the first lies there"
        if not old:
            yield f"nobody is reminded of a letter in {name} a day before it expires"


def every_alarm_reaches_the_topic(template: Template) -> Iterator[str]:
    admitted = {
        arn["Fn::GetAtt"][0]
        for properties in of_type(chosen(template, first=True), "AWS::SNS::TopicPolicy").values()
        for statement in properties["PolicyDocument"]["Statement"]
        for arn in as_list(statement["Condition"].get("ArnEquals", {}).get("aws:SourceArn", []))
        if statement["Effect"] == "Allow" and statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    }
    for name, properties in alarms(template).items():
        if properties.get("AlarmActions") != [{"Ref": "NotificationTopic"}]:
            yield f"{name} notifies nobody"
        if name not in admitted:
            yield f"{name} may not publish to the topic"
        missing = "breaching" if properties["ComparisonOperator"].startswith("LessThan") else "notBreaching"
        if properties.get("TreatMissingData") != missing:
            yield f"{name} is raised, or waits, when nothing happens at all, or is not when that is what it is for"
        if not properties.get("AlarmDescription", "").endswith("."):
            yield f"{name} does not say what is wrong"


def every_emergency_has_an_alarm(template: Template) -> Iterator[str]:
    resources = template["Resources"]
    watched = defaultdict[tuple[Any, Any], list[str]](list)
    for name, properties in alarms(template).items():
        for namespace, metric, _ in watched_metrics(properties):
            watched[namespace, metric].append(name)
    needed: dict[tuple[str, str], Any] = {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): None,
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"): None,
        ("AWS/Lambda", "Errors"): None,
        ("AWS/Lambda", "Throttles"): None,
        ("AWS/Lambda", "DestinationDeliveryFailures"): None,
        ("EcrImageDeletion", "RequestsRejected"): None,
        ("EcrImageDeletion", "TurnLimitReached"): None,  # Lambda says nothing of recursion under RecursiveLoop: Allow
        ("AWS/SQS", "NumberOfMessagesDeleted"): ["CanarySchedule"],
        ("EcrImageDeletion", "UsageKnown"): None,
        ("AWS/Events", "InvocationsFailedToBeSentToDlq"): ["RequestRule", "GracePeriodRule"],
        ("AWS/Scheduler", "InvocationsFailedToBeSentToDeadLetterCount"): ["ScheduleGroup"],
    }
    for wanted, sources in needed.items():
        if wanted not in watched:
            yield f"no alarm watches {wanted}"
        there = {resources[name].get("Condition") for name in watched[wanted]}
        for source in sources or ():
            if there and resources[source]["Condition"] not in there:
                yield f"the alarm on {wanted} is not there just when {source} is"
    found = [metric for properties in alarms(template).values() for metric in watched_metrics(properties)]
    for name, _, event in queue_events(template):
        queue = {"Name": "QueueName", "Value": {"Fn::GetAtt": [event["Queue"]["Fn::GetAtt"][0], "QueueName"]}}
        function = {"Name": "FunctionName", "Value": {"Ref": name}}
        for namespace, metric, dimension in (
            ("AWS/SQS", "ApproximateAgeOfOldestMessage", queue),
            *(("AWS/Lambda", each, function) for each in ("Errors", "Throttles", "DestinationDeliveryFailures")),
        ):
            if (namespace, metric, [dimension]) not in found:
                yield f"no alarm watches {metric} of {dimension['Value']}"


def what_was_lost_is_counted_where_the_alarms_look(template: Template) -> Iterator[str]:
    resources = template["Resources"]
    for name, schedule in of_type(template, "AWS::Scheduler::Schedule").items():
        if schedule.get("GroupName") != {"Ref": "ScheduleGroup"}:
            yield f"{name} is in a group that other schedules are in too"
    dimensions = resources["LostRuleEventAlarm"]["Properties"]["Dimensions"]
    for bus, reference, first, expected in (
        ("default", "stack-Rule", True, {"RuleName": "stack-Rule"}),
        ("own", "own|stack-Rule", False, {"RuleName": "stack-Rule", "EventBusName": "own"}),
    ):
        found = resolve(chosen(dimensions, first=first), {"RequestRule": reference, "EventBusName": bus})
        if {each["Name"]: each["Value"] for each in found} != expected:
            yield f"on the bus {bus}, the alarm on lost events looks at {found}"


def the_canary_comes_more_often_than_it_is_missed(template: Template) -> Iterator[str]:
    alarm = template["Resources"]["CanaryAlarm"]["Properties"]
    schedule = template["Resources"]["CanarySchedule"]["Properties"]
    request = json.loads(resolve(schedule["Target"]["Input"], {"CanaryRepository": "team/app"}))
    if schedule["Target"]["Arn"]["Fn::GetAtt"][0] != alarm["Dimensions"][0]["Value"]["Fn::GetAtt"][0]:
        yield "the alarm looks at another queue than the canary is sent to"
    if schedule["ScheduleExpression"] != "rate(1 day)" or alarm["Period"] * alarm["EvaluationPeriods"] <= DAY:
        yield "the alarm on a missing canary is raised between two of them"
    if request.get("dryRun") is not True or "<aws.scheduler.scheduled-time>" not in request.get("requestId", ""):
        yield "the canary deletes, or only the first one arrives"


def the_metrics_that_are_watched_are_counted(template: Template) -> Iterator[str]:
    service = {"Name": "service", "Value": {"Ref": "AWS::StackName"}}
    body = json.dumps(template["Resources"]["Dashboard"]["Properties"]["DashboardBody"])
    for name, function in functions(template).items():
        namespace = function["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]
        if namespace not in body or r"\"service\", \"${AWS::StackName}\"" not in body:
            yield f"the dashboard does not show what {name} counts"
        for alarm, properties in alarms(template).items():
            for watched, metric, dimensions in watched_metrics(properties):
                if not watched.startswith("AWS/") and (
                    (watched, dimensions[0]) != (namespace, service)
                    or (len(dimensions) > 1) != (metric == "UsageKnown")
                    or not re.search(rf"\b{metric}[=\"]", SOURCE)
                ):
                    yield f"{alarm} watches a metric that {name} does not count"


def each_source_has_an_alarm_of_its_own(template: Template) -> Iterator[str]:
    conditions = {
        "ecs": "ReadsEcs",
        "lambda": "ReadsLambda",
        "inspector": "ReadsInspector",
        "declared": "HasDeclaredUse",
    }
    found = {
        dimensions[1]["Value"]: template["Resources"][name].get("Condition")
        for name, properties in alarms(template).items()
        for _, metric, dimensions in watched_metrics(properties)
        if metric == "UsageKnown" and dimensions[1]["Name"] == "source"
    }
    for source, condition in conditions.items():
        if found.get(source) != condition:
            yield f"no alarm tells that {source} is not known, or it rings where {source} need not be"
    for name, properties in alarms(template).items():
        if "UsageKnown" in json.dumps(properties):
            periods = properties["Period"] * properties["EvaluationPeriods"]
            if properties["Period"] < 60 * SCHEDULE_MINUTES or properties["EvaluationPeriods"] < 2:
                yield f"{name} is raised between two runs, which come at no exact time"
            if (properties["Statistic"], properties["Threshold"]) != ("Minimum", 1) or periods > 3600:
                yield f"{name} misses that its source is not known, or says so after an hour"


def what_is_in_use_is_read_with_the_guard_alone(template: Template) -> Iterator[str]:
    for name, resource_ in template["Resources"].items():
        if name.startswith("Usage") and not resource_.get("Condition", "").startswith("ProtectsInUse"):
            yield f"{name} is there without ProtectInUse"
    for name in ("UsageFunction", "UsageRole"):
        if name not in template["Resources"]:
            yield f"there is no {name}"
    if template["Parameters"]["ProtectInUse"]["Default"] != "":
        yield "images in use are protected, and read, in a stack whose owner did not ask for it"


def each_source_is_read_with_its_own_permissions(template: Template) -> Iterator[str]:
    needed = {
        "ReadsEcs": {
            "ecs:DescribeServiceRevisions", "ecs:DescribeServices", "ecs:DescribeTaskDefinition", "ecs:DescribeTasks",
            "ecs:ListClusters", "ecs:ListServices", "ecs:ListTaskDefinitionFamilies", "ecs:ListTaskDefinitions",
            "ecs:ListTasks",
        },
        "ReadsLambda": {"lambda:GetFunction", "lambda:ListFunctions"},
        "ReadsInspector": {"inspector2:ListCoverage"},
        "": {"dynamodb:Query", "dynamodb:UpdateItem", "logs:CreateLogStream", "logs:PutLogEvents"},
    }  # fmt: skip
    found: dict[str, set[str]] = {condition: set() for condition in needed}
    [policy] = template["Resources"]["UsageRole"]["Properties"]["Policies"]
    for part in policy["PolicyDocument"]["Statement"]:
        condition, statement = part["Fn::If"][:2] if "Fn::If" in part else ("", part)
        found.setdefault(condition, set()).update(as_list(statement["Action"]))
    if found != needed:
        yield f"the function that reads may do {found}"
    for name, properties in of_type(template, "AWS::IAM::Policy").items():
        if {"Ref": "UsageRole"} in properties["Roles"] and {"Ref": "FunctionRole"} in properties["Roles"]:
            yield f"{name} makes one role of two"
    written = json.dumps(resolve(template["Resources"]["FunctionRole"], {}))
    if re.search(r'"(ecs|inspector2|lambda):[A-Z]', written):
        yield "the function that deletes may read what runs in the account"


def a_continued_reading_invokes_its_own_function_alone(template: Template) -> Iterator[str]:
    granted = [
        statement
        for policy in of_type(template, "AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if "lambda:InvokeFunction" in as_list(statement.get("Action", []))
    ]
    if [statement["Resource"] for statement in granted] != [{"Fn::GetAtt": ["UsageFunction", "Arn"]}]:
        yield "the function that reads cannot go on in a further turn, or can invoke others"


def the_schedule_counts_ages_as_often_as_the_function_thinks(template: Template) -> Iterator[str]:
    function = template["Resources"]["UsageFunction"]["Properties"]
    [event_] = [event["Properties"] for event in function["Events"].values()]
    if event_["Schedule"] != f"rate({SCHEDULE_MINUTES} minutes)":
        yield "what is due is read too early, or too late"
    if json.loads(event_["Input"]) != {"whenDue": True}:
        yield "everything is read at each run, due or not"
    if min(template["Parameters"]["UsageRefreshMinutes"]["AllowedValues"]) < SCHEDULE_MINUTES:
        yield "a source could be due more often than the function runs"
    if function["Timeout"] > 60 * SCHEDULE_MINUTES or function["EventInvokeConfig"]["MaximumRetryAttempts"] != 2:
        yield "a run outlasts the next one, or a failure is not tried again"


def the_variables_that_are_set_are_those_that_are_read(template: Template) -> Iterator[str]:
    libraries = {value for name, value in vars(constants).items() if name.endswith("_ENV")}
    readers: dict[str, Callable[[Mapping[str, str]], object]] = {
        "DeletionFunction": Settings.from_env,
        "BulkFunction": Settings.from_env,
        "UsageFunction": ReaderSettings.from_env,
    }
    for name, function in functions(template).items():
        read = Recorder()
        readers[name](read)
        set_ = function["Environment"]["Variables"].keys()
        for variable in read.names - set_ - {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE"}:  # which Lambda sets itself
            yield f"{name} lacks {variable}"
        for variable in set_ - read.names - libraries:
            yield f"nothing in {name} reads {variable}"
        for variable in set_:
            if variable.startswith("AWS_"):
                yield f"{variable} is for Lambda, or for an emulator of it, to set"


def the_saved_queries_ask_for_what_is_logged(template: Template) -> Iterator[str]:
    groups = of_type(template, "AWS::Logs::LogGroup")
    for name, properties in of_type(template, "AWS::Logs::QueryDefinition").items():
        if [group.get("Ref") in groups for group in properties["LogGroupNames"]] != [True]:
            yield f"{name} asks another log"
        listed = re.findall(r"message in \[(.+?)\]", properties["QueryString"])
        messages = re.findall(r'message = "(.+?)"', properties["QueryString"])
        for message in [*messages, *(each for text in listed for each in re.findall(r'"(.+?)"', text))]:
            if f'"{message}"' not in SOURCE:
                yield f"{name} asks for {message!r}, which nobody logs"


class Recorder(Mapping[str, str]):
    """An environment with every variable there can be, which notes the names that were read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        switches = {"ALLOW_ARCHIVE", "ALLOW_PERCENT_IN_REQUESTS", "CHAT_NOTICES", "DRY_RUN"}
        return "true" if name in switches else {"RESULT_EVENTS": "all"}.get(name, "1")

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def resource(name: str) -> Callable[[Template], Any]:
    return lambda template: template["Resources"][name]["Properties"]


QUEUE, DEAD_LETTERS, TOPIC, ALARM = map(
    resource, ("RequestQueue", "DeadLetterQueue", "NotificationTopic", "DeadLetterAlarm")
)
FUNCTION, ROLE, RULE, SCHEDULE = map(resource, ("DeletionFunction", "FunctionRole", "RequestRule", "RequestSchedule"))
BULK, BULK_QUEUE, BULK_ALARM = map(resource, ("BulkFunction", "BulkQueue", "OldestBulkRequestAlarm"))


def parameter(name: str) -> Callable[[Template], Any]:
    return lambda template: template["Parameters"][name]


def statement(name: str, sid: str, nth: int = 0) -> Callable[[Template], Any]:
    """A statement of a resource's policies, by its Sid."""

    def found(part: Any) -> Iterator[Any]:
        if isinstance(part, dict) and part.get("Sid") == sid:
            yield part
        elif isinstance(part, dict | list):
            for each in part.values() if isinstance(part, dict) else part:
                yield from found(each)

    return lambda template: list(found(template["Resources"][name]))[nth]


def whole(name: str) -> Callable[[Template], Any]:
    """A resource with what stands beside its properties."""
    return lambda template: template["Resources"][name]


def via(template: Template, name: str) -> Any:
    """The services through which a policy lets messages be encrypted."""
    return statement(name, "EncryptMessages")(template)["Condition"]["StringEquals"]["kms:ViaService"]


def pattern(template: Template) -> Any:
    return RULE(template)["EventPattern"]


def event(template: Template) -> Any:
    return FUNCTION(template)["Events"]["Requests"]["Properties"]


def variables(template: Template) -> Any:
    return FUNCTION(template)["Environment"]["Variables"]


def bulk_times(template: Template, timeout: str) -> Any:
    return template["Mappings"]["BulkTimes"][timeout]


TRUST = statement("ScheduleRole", "SchedulesOfThisGroup")
SENDERS, ACCOUNT = (statement("RequestQueuePolicy", "NobodyElseMaySend", nth) for nth in (0, 1))
CANARY, MISSING, MORE, OLD, LOST_RULE = map(
    resource, ("CanarySchedule", "CanaryAlarm", "MoreDeadLettersAlarm", "OldDeadLetterAlarm", "LostRuleEventAlarm")
)


BROKEN: list[tuple[Check, Callable[[Template], object]]] = [
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: QUEUE(t).update(VisibilityTimeout=719)),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: QUEUE(t).pop("VisibilityTimeout")),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: FUNCTION(t).update(Timeout=121)),
    (
        the_queue_waits_six_times_as_long_as_the_function_may_take,
        lambda t: bulk_times(t, "300").update(Visibility=1799),
    ),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: bulk_times(t, "900").pop("Visibility")),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: t["Mappings"]["BulkTimes"].pop("120")),
    (
        the_queue_waits_six_times_as_long_as_the_function_may_take,
        lambda t: parameter("BulkTimeout")(t)["AllowedValues"].append(840),
    ),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: BULK_QUEUE(t).update(VisibilityTimeout=720)),
    (a_message_is_received_several_times, lambda t: QUEUE(t)["RedrivePolicy"].update(maxReceiveCount=4)),
    (a_message_is_received_several_times, lambda t: BULK_QUEUE(t)["RedrivePolicy"].update(maxReceiveCount=2)),
    (a_message_is_received_several_times, lambda t: BULK_QUEUE(t).pop("RedrivePolicy")),
    (
        what_waits_longer_than_its_receives_take_is_noticed,
        lambda t: bulk_times(t, "600").update(OldestRequest=3600),
    ),
    (
        what_waits_longer_than_its_receives_take_is_noticed,
        lambda t: BULK_QUEUE(t)["RedrivePolicy"].update(maxReceiveCount=4),
    ),
    (what_waits_longer_than_its_receives_take_is_noticed, lambda t: BULK_ALARM(t).update(Threshold=3600)),
    (what_waits_longer_than_its_receives_take_is_noticed, lambda t: BULK_ALARM(t).update(Statistic="Minimum")),
    (what_waits_longer_than_its_receives_take_is_noticed, lambda t: t["Resources"].pop("OldestBulkRequestAlarm")),
    (what_waits_longer_than_its_receives_take_is_noticed, lambda t: t["Resources"].pop("OldestRequestAlarm")),
    *(
        (the_lanes_differ_in_time_alone, break_it)
        for break_it in (
            lambda t: BULK(t)["Environment"]["Variables"].update(DRY_RUN="false"),
            lambda t: variables(t).pop("PROTECTED_TAGS"),
            lambda t: BULK(t).update(Handler="handler.usage_app.lambda_handler"),
            lambda t: BULK(t).update(CodeUri="other/"),
            lambda t: BULK(t).update(Role={"Fn::GetAtt": ["UsageRole", "Arn"]}),
            lambda t: BULK(t).update(Runtime="python3.14"),
            lambda t: BULK(t).pop("Architectures"),
            lambda t: BULK(t).pop("EventInvokeConfig"),
            lambda t: BULK(t)["Events"]["Requests"]["Properties"].update(BatchSize=10),
            lambda t: BULK(t)["Events"]["Requests"]["Properties"].update(Queue={"Fn::GetAtt": ["RequestQueue", "Arn"]}),
            lambda t: whole("BulkFunction")(t).update(Condition="HasGracePeriod"),
        )
    ),
    *(
        (only_the_stack_itself_sends_to_the_bulk_queue, break_it)
        for break_it in (
            lambda t: statement("SenderPolicy", "SendRequests")(t).update(
                Resource=[{"Fn::GetAtt": [queue, "Arn"]} for queue in ("RequestQueue", "BulkQueue")]
            ),
            lambda t: statement("RequestQueuePolicy", "SendersMaySend")(t).update(
                Resource={"Fn::GetAtt": ["BulkQueue", "Arn"]}
            ),
            lambda t: RULE(t)["Targets"][0].update(Arn={"Fn::GetAtt": ["BulkQueue", "Arn"]}),
            lambda t: CANARY(t)["Target"].update(Arn={"Fn::GetAtt": ["BulkQueue", "Arn"]}),
        )
    ),
    (the_functions_send_to_the_bulk_queue_alone, lambda t: variables(t).update(BULK_QUEUE_URL={"Ref": "RequestQueue"})),
    (
        the_functions_send_to_the_bulk_queue_alone,
        lambda t: statement("FunctionRole", "SendBulkRequests")(t).update(
            Resource={"Fn::GetAtt": ["RequestQueue", "Arn"]}
        ),
    ),
    (
        the_functions_send_to_the_bulk_queue_alone,
        lambda t: statement("FunctionRole", "TakeRequests")(t)["Action"].append("sqs:SendMessage"),
    ),
    (dead_letters_are_kept_longer_than_requests, lambda t: DEAD_LETTERS(t).update(MessageRetentionPeriod=345600)),
    (dead_letters_are_kept_longer_than_requests, lambda t: DEAD_LETTERS(t).pop("MessageRetentionPeriod")),
    (dead_letters_are_kept_longer_than_requests, lambda t: DEAD_LETTERS(t).update(MessageRetentionPeriod=2246401)),
    (one_failed_record_keeps_only_itself_on_the_queue, lambda t: event(t).pop("FunctionResponseTypes")),
    (every_log_group_forgets, lambda t: resource("FunctionLogGroup")(t).pop("RetentionInDays")),
    (every_log_group_forgets, lambda t: FUNCTION(t).pop("LoggingConfig")),
    (every_parameter_and_output_is_described, lambda t: parameter("LogLevel")(t).pop("Description")),
    (every_parameter_and_output_is_described, lambda t: t["Outputs"]["FunctionName"].update(Description="")),
    (every_parameter_is_constrained, lambda t: parameter("EventBusName")(t).pop("AllowedPattern")),
    (every_parameter_is_constrained, lambda t: parameter("EventBusName")(t).pop("ConstraintDescription")),
    (every_parameter_is_constrained, lambda t: parameter("KmsKeyArn")(t).update(Default="alias/aws/sns")),
    (every_parameter_has_its_place_in_the_console, lambda t: t["Parameters"].update(Another={"Type": "String"})),
    (nothing_may_be_deleted_by_default, lambda t: parameter("RepositoryPattern")(t).update(Default="*")),
    (nothing_may_be_deleted_by_default, lambda t: parameter("ForeignRegistryIds")(t).update(Default="123456789012")),
    (nothing_may_be_deleted_by_default, lambda t: statement("FunctionRole", "DeleteImages")(t).update(Resource="*")),
    (
        nothing_may_be_deleted_by_default,
        lambda t: statement("ForeignRegistriesPolicy", "DeleteForeignImages")(t).pop("Condition"),
    ),
    (nothing_may_be_deleted_by_default, lambda t: statement("FunctionRole", "DeleteImages")(t)["Resource"].pop()),
    (nothing_may_be_deleted_by_default, lambda t: parameter("ScheduleRequest")(t).update(Default='{"imageIds": []}')),
    (nothing_may_be_deleted_by_default, lambda t: parameter("EventBusName")(t).update(Default="default")),
    (nothing_may_be_deleted_by_default, lambda t: parameter("AllowPercentInRequests")(t).update(Default="true")),
    (a_schedule_says_what_it_deletes, lambda t: t.pop("Rules")),
    (a_schedule_says_what_it_deletes, lambda t: t["Rules"]["ScheduleHasRequest"].update(Assertions=[])),
    (
        there_are_not_too_many_parameters,
        lambda t: t["Parameters"].update({f"P{i}": {"Type": "String"} for i in range(10)}),
    ),
    (the_longest_values_fit, lambda t: parameter("ProtectedTags")(t).update(MaxLength=2048)),
    (the_longest_values_fit, lambda t: statement("FunctionRole", "ListRepositories")(t).update(Resource=["x" * 9999])),
    (
        no_permission_is_unbounded,
        lambda t: statement("FunctionRole", "ListRepositories")(t).update(Action="dynamodb:*"),
    ),
    (no_permission_is_unbounded, lambda t: statement("FunctionRole", "SendBulkRequests")(t).update(Resource="*")),
    (no_permission_is_unbounded, lambda t: statement("RequestQueuePolicy", "RuleMaySend")(t).update(Principal="*")),
    (no_permission_is_unbounded, lambda t: statement("RequestQueuePolicy", "SendersMaySend")(t).pop("Condition")),
    (
        steps_are_never_deleted,
        lambda t: statement("FunctionRole", "RememberSteps")(t)["Action"].append("dynamodb:DeleteItem"),
    ),
    (every_statement_has_a_name_of_its_own, lambda t: statement("FunctionRole", "SendBulkRequests")(t).pop("Sid")),
    (
        every_statement_has_a_name_of_its_own,
        lambda t: statement("FunctionRole", "SendBulkRequests")(t).update(Sid="DeleteImages"),
    ),
    (every_role_is_bounded_and_known, lambda t: ROLE(t).pop("PermissionsBoundary")),
    (every_role_is_bounded_and_known, lambda t: ROLE(t).pop("Path")),
    (every_role_is_bounded_and_known, lambda t: FUNCTION(t).pop("Role")),
    (every_role_is_bounded_and_known, lambda t: ROLE(t).update(ManagedPolicyArns=["AdministratorAccess"])),
    (schedules_alone_assume_their_role, lambda t: TRUST(t)["Condition"].pop("ArnEquals")),
    (schedules_alone_assume_their_role, lambda t: TRUST(t)["Condition"].pop("StringEquals")),
    (
        schedules_alone_assume_their_role,
        lambda t: TRUST(t)["Condition"].update(
            ArnEquals={"aws:SourceArn": {"Fn::GetAtt": ["RequestSchedule", "Arn"]}}  # which Scheduler never sends
        ),
    ),
    (queues_take_messages_from_nobody_else, lambda t: SENDERS(t).update(Effect="Allow")),
    (queues_take_messages_from_nobody_else, lambda t: ACCOUNT(t).update(Effect="Allow")),
    (
        queues_take_messages_from_nobody_else,
        lambda t: statement("DeadLetterQueuePolicy", "TransportIsEncrypted")(t).update(Condition={}),
    ),
    (queues_take_messages_from_nobody_else, lambda t: t["Resources"].pop("RequestQueuePolicy")),
    (
        topics_refuse_calls_without_tls,
        lambda t: statement("NotificationTopicPolicy", "TransportIsEncrypted")(t).update(Effect="Allow"),
    ),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: QUEUE(t).pop("KmsMasterKeyId")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: QUEUE(t).pop("SqsManagedSseEnabled")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: TOPIC(t).update(KmsMasterKeyId="alias/aws/sns")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: resource("FunctionLogGroup")(t).pop("KmsKeyId")),
    (
        keys_are_used_through_services_alone_also_in_china,
        lambda t: statement("FunctionKeyPolicy", "ReadAndWriteSteps")(t).pop("Condition"),
    ),
    (keys_are_used_through_services_alone_also_in_china, lambda t: via(t, "ScheduleKeyPolicy").pop()),
    (keys_are_used_through_services_alone_also_in_china, lambda t: via(t, "SenderPolicy").pop()),
    (
        the_function_can_decrypt_its_variables,
        lambda t: statement("FunctionKeyPolicy", "DecryptVariables")(t).update(Action="kms:Encrypt"),
    ),
    (what_may_be_kept_is_said, lambda t: whole("DeadLetterQueue")(t).pop("DeletionPolicy")),
    (what_may_be_kept_is_said, lambda t: whole("IdempotencyTable")(t).pop("UpdateReplacePolicy")),
    (what_may_be_kept_is_said, lambda t: whole("NotificationTopic")(t).update(DeletionPolicy="Snapshot")),
    (what_may_be_kept_is_said, lambda t: resource("FunctionLogGroup")(t).update(LogGroupName="/aws/lambda/deletion")),
    (several_stacks_stand_side_by_side, lambda t: QUEUE(t).update(QueueName="requests")),
    (several_stacks_stand_side_by_side, lambda t: resource("Dashboard")(t).update(DashboardName="ecr-image-deletion")),
    (several_stacks_stand_side_by_side, lambda t: resource("ScheduleGroup")(t).update(Name="ecr-image-deletion")),
    (several_stacks_stand_side_by_side, lambda t: variables(t).update(POWERTOOLS_SERVICE_NAME="ecr-image-deletion")),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: whole("RequestRule")(t).pop("Condition")),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: pattern(t).pop("account")),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: pattern(t).pop("source")),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: pattern(t).pop("detail")),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: pattern(t)["detail"]["Fn::If"][1]["$or"].pop()),
    (rules_are_narrow_and_only_there_when_asked_for, lambda t: t["Resources"]["GracePeriodRule"].pop("Condition")),
    (
        rules_are_narrow_and_only_there_when_asked_for,
        lambda t: t["Resources"]["GracePeriodRule"]["Properties"]["Targets"][0].update(
            Input='{"selection": {"countType": "sinceImageTransitioned"}}'
        ),
    ),
    (what_sends_to_its_own_queue_may_do_so, lambda t: BULK(t).pop("RecursiveLoop")),
    (what_sends_to_its_own_queue_may_do_so, lambda t: FUNCTION(t).update(RecursiveLoop="Allow")),
    (selections_by_last_pull_are_not_defeated, lambda t: t["Resources"].pop("PullTimeExclusion")),
    (packages_can_be_signed, lambda t: FUNCTION(t).pop("CodeSigningConfigArn")),
    (senders_find_what_they_need, lambda t: t["Outputs"].pop("RequestQueueArn")),
    (senders_find_what_they_need, lambda t: t["Outputs"].pop("BulkQueueArn")),
    (senders_find_what_they_need, lambda t: t["Outputs"].pop("FunctionArn")),
    (senders_find_what_they_need, lambda t: t["Outputs"].pop("BulkFunctionArn")),
    (senders_find_what_they_need, lambda t: t["Outputs"].pop("SenderPolicyArn")),
    (senders_find_what_they_need, lambda t: t["Resources"].pop("SenderPolicy")),
    (nothing_undeliverable_is_lost, lambda t: t["Resources"].pop("CanaryAlarm")),
    (nothing_undeliverable_is_lost, lambda t: RULE(t)["Targets"][0].pop("DeadLetterConfig")),
    (nothing_undeliverable_is_lost, lambda t: RULE(t)["Targets"][0].pop("RetryPolicy")),
    (nothing_undeliverable_is_lost, lambda t: SCHEDULE(t)["Target"].pop("DeadLetterConfig")),
    (nothing_undeliverable_is_lost, lambda t: SCHEDULE(t)["Target"].pop("RetryPolicy")),
    (nothing_undeliverable_is_lost, lambda t: FUNCTION(t).pop("EventInvokeConfig")),
    (nothing_undeliverable_is_lost, lambda t: FUNCTION(t)["EventInvokeConfig"].pop("DestinationConfig")),
    (dead_letters_are_seen, lambda t: ALARM(t).update(MetricName="NumberOfMessagesSent")),
    (dead_letters_are_seen, lambda t: ALARM(t).update(Threshold=2)),
    (dead_letters_are_seen, lambda t: t["Resources"].pop("DeadLetterAlarm")),
    (dead_letters_are_seen, lambda t: t["Resources"].pop("MoreDeadLettersAlarm")),
    (dead_letters_are_seen, lambda t: MORE(t)["Metrics"][1].update(Expression="RATE(letters)")),
    (dead_letters_are_seen, lambda t: t["Resources"].pop("OldDeadLetterAlarm")),
    (dead_letters_are_seen, lambda t: OLD(t).update(Threshold=2)),
    (dead_letters_are_seen, lambda t: OLD(t).update(Statistic="Minimum")),
    (dead_letters_are_seen, lambda t: OLD(t).update(EvaluationPeriods=169)),
    (dead_letters_are_seen, lambda t: OLD(t).update(Period=60)),
    (dead_letters_are_seen, lambda t: OLD(t).update(MetricName="ApproximateAgeOfOldestMessage", Threshold=604800)),
    (every_alarm_reaches_the_topic, lambda t: ALARM(t).pop("AlarmActions")),
    (every_alarm_reaches_the_topic, lambda t: ALARM(t).pop("TreatMissingData")),
    (every_alarm_reaches_the_topic, lambda t: MISSING(t).update(TreatMissingData="notBreaching")),
    (
        every_alarm_reaches_the_topic,
        lambda t: statement("NotificationTopicPolicy", "AlarmsMayPublish")(t)["Condition"]["ArnEquals"][
            "aws:SourceArn"
        ].pop(),
    ),
    *(
        (every_emergency_has_an_alarm, lambda t, name=name: t["Resources"].pop(name))
        for name in (
            "OldestRequestAlarm",
            "OldestBulkRequestAlarm",
            "FunctionErrorAlarm",
            "BulkFunctionErrorAlarm",
            "FunctionThrottleAlarm",
            "BulkFunctionThrottleAlarm",
            "LostEventAlarm",
            "LostBulkEventAlarm",
            "TurnLimitAlarm",
            "LostRuleEventAlarm",
            "LostScheduleAlarm",
            "CanaryAlarm",
        )
    ),
    (every_emergency_has_an_alarm, lambda t: whole("LostScheduleAlarm")(t).update(Condition="HasSchedule")),
    (what_was_lost_is_counted_where_the_alarms_look, lambda t: SCHEDULE(t).pop("GroupName")),
    (
        what_was_lost_is_counted_where_the_alarms_look,
        lambda t: LOST_RULE(t)["Dimensions"][0].update(Value={"Ref": "RequestRule"}),
    ),
    (what_was_lost_is_counted_where_the_alarms_look, lambda t: LOST_RULE(t)["Dimensions"].pop()),
    (the_canary_comes_more_often_than_it_is_missed, lambda t: MISSING(t).update(EvaluationPeriods=24)),
    (
        the_canary_comes_more_often_than_it_is_missed,
        lambda t: CANARY(t)["Target"].update(Arn={"Fn::GetAtt": ["BulkQueue", "Arn"]}),
    ),
    (
        the_canary_comes_more_often_than_it_is_missed,
        lambda t: CANARY(t)["Target"].update(Input='{"requestId": "<aws.scheduler.scheduled-time>"}'),
    ),
    (
        the_canary_comes_more_often_than_it_is_missed,
        lambda t: CANARY(t)["Target"].update(Input='{"requestId": "canary", "dryRun": true}'),
    ),
    (the_metrics_that_are_watched_are_counted, lambda t: variables(t).update(POWERTOOLS_METRICS_NAMESPACE="another")),
    (
        the_metrics_that_are_watched_are_counted,
        lambda t: resource("TurnLimitAlarm")(t)["Dimensions"][0].update(Value="another"),
    ),
    (
        the_metrics_that_are_watched_are_counted,
        lambda t: resource("RejectedRequestAlarm")(t).update(MetricName="No"),
    ),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).pop("FOREIGN_REGISTRY_IDS")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).update(FOREIGN_REGISTRY_ID="1")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).update(POWERTOOLS_NAMESPACE="1")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).update(AWS_ENDPOINT_URL="")),
    (the_saved_queries_ask_for_what_is_logged, lambda t: resource("FailureCodesQuery")(t).update(LogGroupNames=[])),
    (
        the_saved_queries_ask_for_what_is_logged,
        lambda t: resource("FailureCodesQuery")(t).update(QueryString='filter message = "image deleted"'),
    ),
]


USAGE, USAGE_ALARM = map(resource, ("UsageFunction", "EcsUsageAlarm"))


BROKEN += [
    (what_sends_to_its_own_queue_may_do_so, lambda t: USAGE(t).pop("RecursiveLoop")),
    (
        selections_by_last_pull_are_not_defeated,
        lambda t: resource("PullTimeExclusion")(t).update(PrincipalArn={"Fn::GetAtt": ["UsageRole", "Arn"]}),
    ),
    (no_permission_is_unbounded, lambda t: statement("UsageRole", "DescribeWhatEcsRuns")(t).update(Resource="*")),
    (no_permission_is_unbounded, lambda t: statement("UsageRole", "GetImagesOfFunctions")(t).update(Resource="*")),
    (nothing_undeliverable_is_lost, lambda t: USAGE(t).pop("EventInvokeConfig")),
    (nothing_undeliverable_is_lost, lambda t: t["Resources"].pop("LambdaUsageAlarm")),
    (every_alarm_reaches_the_topic, lambda t: USAGE_ALARM(t).update(TreatMissingData="notBreaching")),
    (
        every_alarm_reaches_the_topic,
        lambda t: statement("NotificationTopicPolicy", "AlarmsMayPublish")(t)["Condition"]["ArnEquals"][
            "aws:SourceArn"
        ].remove({"Fn::If": ["ReadsEcs", {"Fn::GetAtt": ["EcsUsageAlarm", "Arn"]}, {"Ref": NOTHING}]}),
    ),
    (the_metrics_that_are_watched_are_counted, lambda t: USAGE_ALARM(t)["Dimensions"].pop()),
    (
        the_metrics_that_are_watched_are_counted,
        lambda t: USAGE(t)["Environment"]["Variables"].update(POWERTOOLS_METRICS_NAMESPACE="another"),
    ),
    (
        the_variables_that_are_set_are_those_that_are_read,
        lambda t: USAGE(t)["Environment"]["Variables"].pop("IN_USE_DAYS"),
    ),
    (
        the_saved_queries_ask_for_what_is_logged,
        lambda t: resource("UsageReadingsQuery")(t).update(QueryString='filter message in ["source read", "no"]'),
    ),
    (each_source_has_an_alarm_of_its_own, lambda t: t["Resources"].pop("DeclaredUsageAlarm")),
    (each_source_has_an_alarm_of_its_own, lambda t: whole("EcsUsageAlarm")(t).update(Condition="ProtectsInUse")),
    (each_source_has_an_alarm_of_its_own, lambda t: USAGE_ALARM(t).update(Period=300)),
    (each_source_has_an_alarm_of_its_own, lambda t: USAGE_ALARM(t).update(EvaluationPeriods=1)),
    (each_source_has_an_alarm_of_its_own, lambda t: USAGE_ALARM(t).update(Threshold=0)),
    (each_source_has_an_alarm_of_its_own, lambda t: USAGE_ALARM(t).update(EvaluationPeriods=5)),
    (what_is_in_use_is_read_with_the_guard_alone, lambda t: whole("UsageRole")(t).pop("Condition")),
    (what_is_in_use_is_read_with_the_guard_alone, lambda t: t["Resources"].pop("UsageFunction")),
    (what_is_in_use_is_read_with_the_guard_alone, lambda t: parameter("ProtectInUse")(t).update(Default="ecs")),
    (
        each_source_is_read_with_its_own_permissions,
        lambda t: statement("UsageRole", "DescribeWhatEcsRuns")(t)["Action"].pop(),
    ),
    (
        each_source_is_read_with_its_own_permissions,
        lambda t: statement("UsageRole", "ListFunctions")(t).update(Action=["lambda:ListFunctions", "lambda:ListTags"]),
    ),
    (
        each_source_is_read_with_its_own_permissions,
        lambda t: resource("UsageTurnPolicy")(t)["Roles"].append({"Ref": "FunctionRole"}),
    ),
    (
        each_source_is_read_with_its_own_permissions,
        lambda t: statement("FunctionRole", "TellFailures")(t).update(Action="ecs:ListTasks"),
    ),
    (
        a_continued_reading_invokes_its_own_function_alone,
        lambda t: statement("UsageTurnPolicy", "GoOn")(t).update(Resource={"Fn::GetAtt": ["DeletionFunction", "Arn"]}),
    ),
    (a_continued_reading_invokes_its_own_function_alone, lambda t: t["Resources"].pop("UsageTurnPolicy")),
    (
        the_schedule_counts_ages_as_often_as_the_function_thinks,
        lambda t: USAGE(t)["Events"]["Schedule"]["Properties"].update(Schedule="rate(1 hour)"),
    ),
    (
        the_schedule_counts_ages_as_often_as_the_function_thinks,
        lambda t: USAGE(t)["Events"]["Schedule"]["Properties"].update(Input="{}"),
    ),
    (
        the_schedule_counts_ages_as_often_as_the_function_thinks,
        lambda t: USAGE(t)["EventInvokeConfig"].update(MaximumRetryAttempts=0),
    ),
    (
        the_schedule_counts_ages_as_often_as_the_function_thinks,
        lambda t: parameter("UsageRefreshMinutes")(t).update(AllowedValues=[5, 60]),
    ),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: resource("UsageTable")(t).pop("SSESpecification")),
    (
        keys_are_used_through_services_alone_also_in_china,
        lambda t: statement("UsageKeyPolicy", "ReadAndWriteUse")(t).pop("Condition"),
    ),
    (
        the_function_can_decrypt_its_variables,
        lambda t: statement("UsageKeyPolicy", "DecryptVariables")(t).update(Action="kms:Encrypt"),
    ),
]


DEPLOYMENTS = [(environment, command) for environment in ("default", "prod") for command in ("global", "deploy")]
"""The tables of samconfig.toml that `sam deploy` reads."""


def words(function: object) -> str:
    """A check's name, for pytest's list."""
    return getattr(function, "__name__", "").replace("<lambda>", "broken").replace("_", " ")


@pytest.mark.parametrize("check", dict.fromkeys(check for check, _ in BROKEN), ids=words)
def test_the_template_holds(check: Check) -> None:
    """The check finds nothing wrong with template.yaml."""
    assert list(check(copy.deepcopy(TEMPLATE))) == []


@pytest.mark.parametrize(("check", "break_it"), BROKEN, ids=words)
def test_the_check_finds_what_it_is_for(check: Check, break_it: Callable[[Template], object]) -> None:
    """A template that is broken in just this way does not pass."""
    broken = copy.deepcopy(TEMPLATE)
    break_it(broken)

    assert list(check(broken)) != []


def test_every_statement_gives_its_reason() -> None:
    """Beside its Sid, or above it."""
    lines = TEXT.splitlines()
    sids = [(i, line) for i, line in enumerate(lines) if line.lstrip().startswith("- Sid:")]

    assert sids
    assert [line for i, line in sids if "#" not in line and not lines[i - 1].lstrip().startswith("#")] == []


def test_every_deletion_policy_gives_its_reason() -> None:
    """Beside it, or above the resource."""
    lines = TEXT.splitlines()
    policies_ = [i for i, line in enumerate(lines) if line.lstrip().startswith("DeletionPolicy:")]

    assert policies_
    # Above it are its name, its type and perhaps its condition.
    assert [lines[i - 2] for i in policies_ if "#" not in lines[i] + lines[i - 3] + lines[i - 4]] == []


def test_every_exemption_from_a_scanner_gives_its_reason() -> None:
    """Checkov's and cfn-lint's, beside the resource."""
    for resource_ in TEMPLATE["Resources"].values():
        for skip in resource_.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert skip["comment"].endswith(".")
    ignored = [line for line in TEXT.splitlines() if re.search(r"\b[EW]S\d{4}\b", line)]
    assert ignored
    assert [line for line in ignored if "#" not in line] == []


def test_only_the_settings_read_the_environment() -> None:
    """So that the variables that Settings reads are all there are; the composition root hands the environment on."""
    modules = (ROOT / "src" / "handler").rglob("*.py")
    readers = {path.name: re.findall(r"environ\b.*|getenv.*", path.read_text()) for path in modules}

    assert {name for name, found in readers.items() if found} == {"settings.py", "bootstrap.py"}
    assert readers["bootstrap.py"] == ['environ) -> "Services":']


def test_the_version_is_that_of_the_project() -> None:
    """The published application has the version of pyproject.toml, its README and its license."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    application = TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]

    assert application["SemanticVersion"] == project["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    for name in (application["ReadmeUrl"], application["LicenseUrl"]):
        assert (ROOT / name).is_file()
    assert application["HomePageUrl"] == application["SourceCodeUrl"] == project["urls"]["Repository"]
    # As the Serverless Application Repository takes it, and on a line that the search for OWNER finds.
    assert re.fullmatch(r"[a-zA-Z0-9](([a-zA-Z0-9]|-(?!-))*[a-zA-Z0-9])?", application["Author"])
    assert project["urls"]["Repository"].startswith(f"https://github.com/{application['Author']}/")
    [line] = [line for line in TEXT.splitlines() if line.lstrip().startswith("Author:")]
    assert f"github.com/{application['Author']}" in line


def test_samconfig_knows_nobodys_account() -> None:
    """Two environments, and nothing in them that would deploy into an account or scope a deletion by itself."""
    text = (ROOT / "samconfig.toml").read_text()
    config = tomllib.loads(text)

    assert {"default", "prod"} <= config.keys()
    assert not re.search(r"\d{12}|arn:|RepositoryPattern|profile|s3_bucket|@", text)
    stacks = [config[environment]["global"]["parameters"]["stack_name"] for environment in ("default", "prod")]
    assert len(set(stacks)) == len(stacks)  # or the one would replace the other
    assert "/samconfig.local.toml" in (ROOT / ".gitignore").read_text().splitlines()
    assert not any("region" in config[environment][command]["parameters"] for environment, command in DEPLOYMENTS)
