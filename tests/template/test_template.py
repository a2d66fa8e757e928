"""Checks of the template that no scanner makes, and that each of them finds what it is for."""
# ruff: noqa: D103  # the checks are called by what they demand

import copy
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.shared import constants
from samtranslator.yaml_helper import yaml_parse

from handler.settings import Settings
from handler.step_table import CLAIM_SECONDS
from tests.policies import as_list

type Template = dict[str, Any]
type Check = Callable[[Template], Iterator[str]]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text()
TEMPLATE: Template = yaml_parse(TEXT)
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "src" / "handler").rglob("*.py")))

SIX_TIMES = 6
"""Function time-outs in a visibility time-out, as Lambda asks of its queues."""
RECEIVES = 5
"""Receives before a message is given up, as Lambda asks of its queues."""


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
            yield name, function, event["Properties"]


def target(template: Template, reference: Any) -> tuple[str, Any]:
    """The logical name and the properties of what a !Ref or !GetAtt points at."""
    name: str = reference["Ref"] if "Ref" in reference else reference["Fn::GetAtt"][0]
    return name, template["Resources"][name]["Properties"]


def policies(template: Template) -> Iterator[tuple[str, list[Any]]]:
    """Where each policy is, and its statements."""
    for name, properties in of_type(template, "AWS::IAM::Role").items():
        yield f"{name} (trust)", properties["AssumeRolePolicyDocument"]["Statement"]
        for policy in properties.get("Policies", []):
            yield f"{name}/{policy['PolicyName']}", policy["PolicyDocument"]["Statement"]
    kinds = ("AWS::IAM::Policy", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    for name, properties in of_type(template, *kinds).items():
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


def the_queue_waits_six_times_as_long_as_the_function_may_take(template: Template) -> Iterator[str]:
    for name, function, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        if properties.get("VisibilityTimeout", 30) < SIX_TIMES * function["Timeout"]:
            yield f"{queue} hands out a message again while {name} may still be at work on it"


def a_message_is_received_five_times(template: Template) -> Iterator[str]:
    for _, _, event in queue_events(template):
        queue, properties = target(template, event["Queue"])
        if properties.get("RedrivePolicy", {}).get("maxReceiveCount", 0) < RECEIVES:
            yield f"{queue} gives a message up before it was received {RECEIVES} times"


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
    if "Default" in template["Parameters"]["RepositoryPattern"]:
        yield "RepositoryPattern has a default"
    if template["Parameters"]["ForeignRegistryIds"]["Default"]:
        yield "the registries of other accounts are open by default"
    for where, statements in policies(template):
        for statement in statements:
            actions = set(as_list(statement["Action"])) - {"ecr:DescribeRepositories"}  # names alone
            if not any(action.startswith(("ecr:", "*")) for action in actions):
                continue
            accounts = statement.get("Condition", {}).get("StringEquals", {}).get("aws:ResourceAccount")
            for resource_ in as_list(statement["Resource"]):
                arn = resource_.get("Fn::Sub", "") if isinstance(resource_, dict) else resource_
                if not arn.endswith(":repository/${RepositoryPattern}"):
                    yield f"{where}: {statement.get('Sid')} reaches beyond RepositoryPattern"
                elif "${AWS::AccountId}" not in arn and not accounts:
                    yield f"{where}: {statement.get('Sid')} reaches into every account"


def no_permission_is_unbounded(template: Template) -> Iterator[str]:
    for where, statements in policies(template):
        for statement in statements:
            if statement["Effect"] != "Allow":
                continue
            if any(action == "*" or action.endswith(":*") for action in as_list(statement["Action"])):
                yield f"{where}: {statement.get('Sid')} allows every action"
            if "*" in as_list(statement.get("Resource")):
                yield f"{where}: {statement.get('Sid')} allows every resource"
            if statement.get("Principal") == "*":
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
        if "ManagedPolicyArns" in properties:
            yield f"{name} has policies that do not stand in the template"
    for name, properties in functions(template).items():
        if "Role" not in properties:
            yield f"SAM makes {name} a role that nothing bounds"


def queues_take_messages_from_nobody_else(template: Template) -> Iterator[str]:
    protected = dict[str, list[Any]]()
    for properties in of_type(template, "AWS::SQS::QueuePolicy").values():
        for queue in properties["Queues"]:
            protected[queue["Ref"]] = properties["PolicyDocument"]["Statement"]
    for name in of_type(template, "AWS::SQS::Queue"):
        denied = [s for s in protected.get(name, []) if s["Effect"] == "Deny" and s["Principal"] == "*"]
        if not any(
            "sqs:SendMessage" in as_list(s["Action"])
            and s["Condition"].get("StringNotEquals") == {"aws:PrincipalAccount": {"Ref": "AWS::AccountId"}}
            for s in denied
        ):
            yield f"{name} does not refuse senders of other accounts"
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


def nothing_undeliverable_is_lost(template: Template) -> Iterator[str]:
    kept = dead_letter_queues(template)

    def deliveries() -> Iterator[tuple[str, Any, Any]]:
        for name, properties in of_type(template, "AWS::Events::Rule").items():
            for rule_target in properties["Targets"]:
                yield name, rule_target.get("RetryPolicy"), rule_target.get("DeadLetterConfig", {}).get("Arn")
        for name, properties in of_type(template, "AWS::Scheduler::Schedule").items():
            schedule = properties["Target"]
            yield name, schedule.get("RetryPolicy"), schedule.get("DeadLetterConfig", {}).get("Arn")
        for name, properties in functions(template).items():
            config = properties.get("EventInvokeConfig", {})
            retries = "MaximumRetryAttempts" in config and "MaximumEventAgeInSeconds" in config
            yield name, retries, config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")

    for name, retries, destination in deliveries():
        if not retries:
            yield f"{name} does not say how often it tries again"
        if destination is None or target(template, destination)[0] not in kept:
            yield f"{name} drops what it cannot deliver"


def dead_letters_are_seen(template: Template) -> Iterator[str]:
    watched = set()
    for properties in alarms(template).values():
        for dimension in properties["Dimensions"]:
            if dimension["Name"] == "QueueName" and dimension["Value"]["Fn::GetAtt"][0] in dead_letter_queues(template):
                watched.add(properties["MetricName"])
                if properties["MetricName"] != "ApproximateNumberOfMessagesVisible":
                    yield f"{properties['MetricName']} does not move when SQS moves a dead letter"
                if (properties["Threshold"], properties["ComparisonOperator"]) != (1, "GreaterThanOrEqualToThreshold"):
                    yield "one dead letter raises no alarm"
    if not watched:
        yield "no alarm watches the dead letters"


def every_alarm_reaches_the_topic(template: Template) -> Iterator[str]:
    admitted = {
        arn["Fn::GetAtt"][0]
        for properties in of_type(template, "AWS::SNS::TopicPolicy").values()
        for statement in properties["PolicyDocument"]["Statement"]
        for arn in as_list(statement["Condition"].get("ArnEquals", {}).get("aws:SourceArn", []))
        if statement["Effect"] == "Allow" and statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    }
    for name, properties in alarms(template).items():
        if properties.get("AlarmActions") != [{"Ref": "NotificationTopic"}]:
            yield f"{name} notifies nobody"
        if name not in admitted:
            yield f"{name} may not publish to the topic"
        if properties.get("TreatMissingData") != "notBreaching":
            yield f"{name} rings, or waits, when nothing happens at all"
        if not properties.get("AlarmDescription", "").endswith("."):
            yield f"{name} does not say what is wrong"


def every_emergency_has_an_alarm(template: Template) -> Iterator[str]:
    watched = {(properties["Namespace"], properties["MetricName"]) for properties in alarms(template).values()}
    for needed in {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "DestinationDeliveryFailures"),
        ("EcrImageDeletion", "RequestsRejected"),
    } - watched:
        yield f"no alarm watches {needed}"


def the_metrics_that_are_watched_are_counted(template: Template) -> Iterator[str]:
    for name, function in functions(template).items():
        variables = function["Environment"]["Variables"]
        namespace, service = variables["POWERTOOLS_METRICS_NAMESPACE"], variables["POWERTOOLS_SERVICE_NAME"]
        body = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        if f'"{namespace}"' not in body or f'"service", "{service}"' not in body:
            yield f"the dashboard does not show what {name} counts"
        for alarm, properties in alarms(template).items():
            if properties["Namespace"].startswith("AWS/"):
                continue
            if (properties["Namespace"], properties["Dimensions"]) != (
                namespace,
                [{"Name": "service", "Value": service}],
            ) or f'"{properties["MetricName"]}"' not in SOURCE:
                yield f"{alarm} watches a metric that {name} does not count"


def the_variables_that_are_set_are_those_that_are_read(template: Template) -> Iterator[str]:
    libraries = {value for name, value in vars(constants).items() if name.endswith("_ENV")} | {"AWS_ENDPOINT_URL"}
    read = Recorder()
    Settings.from_env(read)
    for name, function in functions(template).items():
        set_ = function["Environment"]["Variables"].keys()
        for variable in read.names - set_:
            yield f"{name} lacks {variable}"
        for variable in set_ - read.names - libraries:
            yield f"nothing in {name} reads {variable}"


def the_saved_queries_ask_for_what_is_logged(template: Template) -> Iterator[str]:
    groups = of_type(template, "AWS::Logs::LogGroup")
    for name, properties in of_type(template, "AWS::Logs::QueryDefinition").items():
        if [group.get("Ref") in groups for group in properties["LogGroupNames"]] != [True]:
            yield f"{name} asks another log"
        for message in re.findall(r'message = "(.+?)"', properties["QueryString"]):
            if f'"{message}"' not in SOURCE:
                yield f"{name} asks for {message!r}, which nobody logs"


class Recorder(Mapping[str, str]):
    """An environment with every variable there can be, which notes the names that were read."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return "true" if name == "DRY_RUN" else "1"

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
POLICY = resource("ForeignRegistriesPolicy")


def parameter(name: str) -> Callable[[Template], Any]:
    return lambda template: template["Parameters"][name]


def statement(name: str, index: int) -> Callable[[Template], Any]:
    """A statement of a resource's policy."""

    def find(template: Template) -> Any:
        properties = template["Resources"][name]["Properties"]
        document = properties["Policies"][0] if "Policies" in properties else properties
        return document["PolicyDocument"]["Statement"][index]

    return find


def event(template: Template) -> Any:
    return FUNCTION(template)["Events"]["Requests"]["Properties"]


def variables(template: Template) -> Any:
    return FUNCTION(template)["Environment"]["Variables"]


BROKEN: list[tuple[Check, Callable[[Template], object]]] = [
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: QUEUE(t).update(VisibilityTimeout=719)),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: QUEUE(t).pop("VisibilityTimeout")),
    (the_queue_waits_six_times_as_long_as_the_function_may_take, lambda t: FUNCTION(t).update(Timeout=121)),
    (a_message_is_received_five_times, lambda t: QUEUE(t)["RedrivePolicy"].update(maxReceiveCount=4)),
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
    (nothing_may_be_deleted_by_default, lambda t: statement("FunctionRole", 0)(t).update(Resource="*")),
    (nothing_may_be_deleted_by_default, lambda t: statement("ForeignRegistriesPolicy", 0)(t).pop("Condition")),
    (no_permission_is_unbounded, lambda t: statement("FunctionRole", 2)(t).update(Action="dynamodb:*")),
    (no_permission_is_unbounded, lambda t: statement("FunctionRole", 3)(t).update(Resource="*")),
    (no_permission_is_unbounded, lambda t: statement("RequestQueuePolicy", 0)(t).update(Principal="*")),
    (steps_are_never_deleted, lambda t: statement("FunctionRole", 4)(t)["Action"].append("dynamodb:DeleteItem")),
    (every_statement_has_a_name_of_its_own, lambda t: statement("FunctionRole", 3)(t).pop("Sid")),
    (every_statement_has_a_name_of_its_own, lambda t: statement("FunctionRole", 3)(t).update(Sid="DeleteImages")),
    (every_role_is_bounded_and_known, lambda t: ROLE(t).pop("PermissionsBoundary")),
    (every_role_is_bounded_and_known, lambda t: FUNCTION(t).pop("Role")),
    (every_role_is_bounded_and_known, lambda t: ROLE(t).update(ManagedPolicyArns=["AdministratorAccess"])),
    (queues_take_messages_from_nobody_else, lambda t: statement("RequestQueuePolicy", 1)(t).update(Effect="Allow")),
    (queues_take_messages_from_nobody_else, lambda t: statement("DeadLetterQueuePolicy", 2)(t).update(Condition={})),
    (queues_take_messages_from_nobody_else, lambda t: t["Resources"].pop("RequestQueuePolicy")),
    (topics_refuse_calls_without_tls, lambda t: statement("NotificationTopicPolicy", 1)(t).update(Effect="Allow")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: QUEUE(t).pop("KmsMasterKeyId")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: QUEUE(t).pop("SqsManagedSseEnabled")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: TOPIC(t).update(KmsMasterKeyId="alias/aws/sns")),
    (everything_at_rest_is_encrypted_by_the_given_key, lambda t: resource("FunctionLogGroup")(t).pop("KmsKeyId")),
    (nothing_undeliverable_is_lost, lambda t: RULE(t)["Targets"][0].pop("DeadLetterConfig")),
    (nothing_undeliverable_is_lost, lambda t: RULE(t)["Targets"][0].pop("RetryPolicy")),
    (nothing_undeliverable_is_lost, lambda t: SCHEDULE(t)["Target"].pop("DeadLetterConfig")),
    (nothing_undeliverable_is_lost, lambda t: SCHEDULE(t)["Target"].pop("RetryPolicy")),
    (nothing_undeliverable_is_lost, lambda t: FUNCTION(t).pop("EventInvokeConfig")),
    (nothing_undeliverable_is_lost, lambda t: FUNCTION(t)["EventInvokeConfig"].pop("DestinationConfig")),
    (dead_letters_are_seen, lambda t: ALARM(t).update(MetricName="NumberOfMessagesSent")),
    (dead_letters_are_seen, lambda t: ALARM(t).update(Threshold=2)),
    (dead_letters_are_seen, lambda t: t["Resources"].pop("DeadLetterAlarm")),
    (every_alarm_reaches_the_topic, lambda t: ALARM(t).pop("AlarmActions")),
    (every_alarm_reaches_the_topic, lambda t: ALARM(t).pop("TreatMissingData")),
    (
        every_alarm_reaches_the_topic,
        lambda t: statement("NotificationTopicPolicy", 0)(t)["Condition"]["ArnEquals"]["aws:SourceArn"].pop(),
    ),
    (every_emergency_has_an_alarm, lambda t: t["Resources"].pop("FunctionThrottleAlarm")),
    (the_metrics_that_are_watched_are_counted, lambda t: variables(t).update(POWERTOOLS_SERVICE_NAME="another")),
    (the_metrics_that_are_watched_are_counted, lambda t: resource("RejectedRequestAlarm")(t).update(MetricName="No")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).pop("FOREIGN_REGISTRY_IDS")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).update(FOREIGN_REGISTRY_ID="1")),
    (the_variables_that_are_set_are_those_that_are_read, lambda t: variables(t).update(POWERTOOLS_NAMESPACE="1")),
    (the_saved_queries_ask_for_what_is_logged, lambda t: resource("FailureCodesQuery")(t).update(LogGroupNames=[])),
    (
        the_saved_queries_ask_for_what_is_logged,
        lambda t: resource("FailureCodesQuery")(t).update(QueryString='filter message = "image deleted"'),
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


def test_samconfig_knows_nobodys_account() -> None:
    """Two environments, and nothing in them that would deploy into an account or scope a deletion by itself."""
    text = (ROOT / "samconfig.toml").read_text()
    config = tomllib.loads(text)

    assert {"default", "prod"} <= config.keys()
    assert not re.search(r"\d{12}|arn:|RepositoryPattern|profile|s3_bucket|@", text)
    assert not any("region" in config[environment][command]["parameters"] for environment, command in DEPLOYMENTS)
