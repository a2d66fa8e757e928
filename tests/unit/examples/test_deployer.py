"""The deployer's template allows what CloudFormation calls for the stack's resources, and bounds the stack's roles."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples import resolve, stack, template, translated_stack
from tests.policies import as_list, verdict

DEPLOYER = template("deployer/template.yaml")["Resources"]

NAME = "ecr-image-deletion"
HERE = "eu-west-1:123456789012"
ROLE = f"arn:aws:iam::123456789012:role/ecr-image-deletion/{NAME}-FunctionRole-1A2B"
POLICY = f"arn:aws:iam::123456789012:policy/ecr-image-deletion/{NAME}-SenderPolicy-1A2B"
QUEUE = f"arn:aws:sqs:{HERE}:{NAME}-RequestQueue-1A2B"
TABLE = f"arn:aws:dynamodb:{HERE}:table/{NAME}-IdempotencyTable-1A2B"
TOPIC = f"arn:aws:sns:{HERE}:{NAME}-NotificationTopic-1A2B"
FUNCTION = f"arn:aws:lambda:{HERE}:function:{NAME}-DeletionFunction-1A2B"
LOGS = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{NAME}-11111111-2222-3333-4444-555555555555"
GROUP = f"{NAME}-ScheduleGroup-1A2B"
SCHEDULE = f"arn:aws:scheduler:{HERE}:schedule/{GROUP}/{NAME}-RequestSchedule-1A2B"
KEY = f"arn:aws:kms:{HERE}:key/11111111-2222-3333-4444-555555555555"
BOUNDARY = "arn:aws:iam::123456789012:policy/boundary"

ARNS = {
    "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{HERE}:alarm:{NAME}-DeadLetterAlarm-1A2B",
    "AWS::CloudWatch::Dashboard": f"arn:aws:cloudwatch::123456789012:dashboard/{NAME}-eu-west-1",
    "AWS::DynamoDB::Table": TABLE,
    "AWS::ECR::PullTimeUpdateExclusion": "*",
    "AWS::Events::Rule": f"arn:aws:events:{HERE}:rule/{NAME}-RequestRule-1A2B",
    "AWS::IAM::ManagedPolicy": POLICY,
    "AWS::IAM::Policy": ROLE,
    "AWS::IAM::Role": ROLE,
    "AWS::Lambda::EventInvokeConfig": FUNCTION,
    "AWS::Lambda::EventSourceMapping": f"arn:aws:lambda:{HERE}:event-source-mapping:1a2b3c",
    "AWS::Lambda::Function": FUNCTION,
    "AWS::Lambda::Permission": FUNCTION,
    "AWS::Serverless::Function": FUNCTION,
    "AWS::Logs::LogGroup": LOGS,
    "AWS::Logs::QueryDefinition": "*",
    "AWS::SNS::Subscription": TOPIC,
    "AWS::SNS::Topic": TOPIC,
    "AWS::SNS::TopicPolicy": TOPIC,
    "AWS::SQS::Queue": QUEUE,
    "AWS::SQS::QueuePolicy": QUEUE,
    "AWS::Scheduler::Schedule": SCHEDULE,
    "AWS::Scheduler::ScheduleGroup": f"arn:aws:scheduler:{HERE}:schedule-group/{GROUP}",
}
"""The ARN that actions on a resource of each type apply to, named as CloudFormation names it."""

UNUSED = {
    # an import from S3, replicas in other regions, a stream, a policy of the table's own
    "dynamodb": "AssociateTableReplica BatchWriteItem CreateTableReplica DeleteItem DeleteResourcePolicy "
    "DescribeImport DisableKinesisStreamingDestination EnableKinesisStreamingDestination GetItem ImportTable PutItem "
    "PutResourcePolicy Query Scan UpdateItem UpdateKinesisStreamingDestination",
    # attaching and changing managed policies (see the template), policies of users and groups, roles without a
    # boundary, the service-linked role of replicas
    "iam": "AttachGroupPolicy AttachRolePolicy AttachUserPolicy CreatePolicyVersion CreateServiceLinkedRole "
    "DeleteGroupPolicy DeletePolicyVersion DeleteRolePermissionsBoundary DeleteUserPolicy DetachGroupPolicy "
    "DetachRolePolicy DetachUserPolicy GetGroupPolicy GetUserPolicy PutGroupPolicy PutUserPolicy",
    # aliases of a table's key
    "kms": "ListAliases",
    # instances and a runtime of the account's own, layers, versions
    "lambda": "AssociateRuntimeAlias GetLayerVersion PassCapacityProvider PublishVersion PutFunctionScalingConfig",
    # the log of an import, deliveries, data and deletion protection, field indexes, bearer tokens
    "logs": "CreateLogDelivery CreateLogStream DeleteDataProtectionPolicy DeleteIndexPolicy DeleteResourcePolicy "
    "DescribeLogStreams PutBearerTokenAuthentication PutDataProtectionPolicy PutIndexPolicy PutLogEvents "
    "PutLogGroupDeletionProtection PutResourcePolicy",
    # the bucket of an import, and one entry that is no action
    "s3": "GetObjectMetadata ListBucket REST.PUT.OBJECT",
    "sns": "PutDataProtectionPolicy",
    # what the stack has none of: a VPC, file systems, streams
    "ec2": "DescribeNetworkInterfaces DescribeSecurityGroups DescribeSubnets DescribeVpcs",
    "elasticfilesystem": "DescribeMountTargets",
    "firehose": "TagDeliveryStream",
    "kinesis": "DescribeStream PutRecords",
    "s3files": "ListMountTargets",
}
"""Actions that CloudFormation calls only for properties that no resource of the stack has."""


def names() -> dict[str, str]:
    """The values of references in the stack's template and in the deployer's."""
    resources = {name: ARNS[r["Type"]] for name, r in stack()["Resources"].items() if r["Type"] in ARNS}
    attributes = {f"{name}.Arn": arn for name, arn in resources.items()}
    parameters = {"StackName": NAME, "PackageBucket": "packages", "KmsKeyArn": KEY, "RepositoryPattern": "team/*"}
    outside = {"Boundary": BOUNDARY, "ExecutionRole.Arn": "arn:aws:iam::123456789012:role/execution"}
    return resources | attributes | parameters | outside


def statements(*policies: str) -> list[Any]:
    """The statements of some of the deployer's policies."""
    documents = [DEPLOYER[policy]["Properties"]["PolicyDocument"] for policy in policies]
    return [statement for document in documents for statement in resolve(document, names())["Statement"]]


def execution(action: str, resource: str, **context: str) -> str:
    """The verdict on CloudFormation's role: with the boundary, on the stack's function, unless `context` differs."""
    usual = {"iam:PermissionsBoundary": BOUNDARY, "lambda:FunctionArn": FUNCTION, "kms:GrantIsForAWSResource": "true"}
    policies = statements("ResourcesPolicy", "RolesPolicy", "KeyPolicy")
    return verdict(policies, action=action, resource=resource, context=usual | context)


def needed(resource_type: str) -> set[str]:
    """Actions by which CloudFormation creates, reads, updates and deletes a resource, as listed in cfn-lint."""
    spec = importlib.util.find_spec("cfnlint")  # its data alone: the import takes two seconds
    assert spec is not None
    assert spec.origin is not None
    schemas = Path(spec.origin).parent / "data" / "schemas"
    name = json.loads((schemas / "providers" / "us-east-1.json").read_text())[resource_type]
    handlers = json.loads((schemas / "resources" / f"{name}.json").read_text())["handlers"]
    called = {a for operation, handler in handlers.items() if operation != "list" for a in handler["permissions"]}
    unused = {f"{service}:{name}" for service, names in UNUSED.items() for name in names.split()}
    return called - unused - {"iam:PassRole"}  # which has a test of its own


def resource_of(resource_type: str, action: str) -> str:
    """The ARN that an action applies to, which CloudFormation calls for a resource of this type."""
    match action:
        case "lambda:GetCodeSigningConfig":
            return f"arn:aws:lambda:{HERE}:code-signing-config:csc-0123456789abcdef0"
        case "scheduler:DeleteSchedule":  # those of a group that is deleted, too
            return SCHEDULE
        case "logs:DescribeIndexPolicies":  # IAM knows no resource of it
            return "*"
    if resource_type == "AWS::IAM::ManagedPolicy":
        return POLICY
    others = {"iam": ROLE, "kms": KEY, "s3": f"arn:aws:s3:::packages/{NAME}/0123456789abcdef"}
    if resource_type == "AWS::DynamoDB::Table":
        others["logs"] = LOGS  # CloudFormation may look whether an import logs
    return others.get(action.split(":", maxsplit=1)[0], ARNS[resource_type])


@pytest.mark.parametrize("resource_type", sorted({r["Type"] for r in translated_stack()["Resources"].values()}))
def test_cloudformation_may_do_what_it_must_for_each_type_of_resource(resource_type: str) -> None:
    """A type that is new in the stack needs its actions in the policy, or a line in UNUSED."""
    actions = needed(resource_type)
    assert actions
    assert not {a for a in actions if execution(a, resource_of(resource_type, a)) != "allowed"}


@pytest.mark.parametrize("service", ["lambda.amazonaws.com", "scheduler.amazonaws.com"])
def test_cloudformation_may_hand_the_roles_to_the_services_that_use_them(service: str) -> None:
    """The function's role to Lambda, the schedule's to Scheduler; and to no other service."""
    assert execution("iam:PassRole", ROLE, **{"iam:PassedToService": service}) == "allowed"
    assert execution("iam:PassRole", ROLE, **{"iam:PassedToService": "ec2.amazonaws.com"}) == "not mentioned"


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("sqs:DeleteQueue", QUEUE),
        ("dynamodb:DeleteTable", TABLE),
        ("sns:DeleteTopic", TOPIC),
        ("lambda:UpdateFunctionCode", FUNCTION),
        ("logs:DeleteLogGroup", LOGS),
        ("events:DeleteRule", ARNS["AWS::Events::Rule"]),
        ("scheduler:DeleteSchedule", SCHEDULE),
        ("scheduler:DeleteScheduleGroup", ARNS["AWS::Scheduler::ScheduleGroup"]),
        ("iam:DeletePolicy", POLICY),
        ("iam:PutRolePolicy", ROLE),
        ("cloudwatch:DeleteAlarms", ARNS["AWS::CloudWatch::Alarm"]),
    ],
)
def test_cloudformation_may_not_touch_other_stacks(action: str, resource: str) -> None:
    """Names that do not begin with the stack's are out of bounds."""
    assert execution(action, resource) == "allowed"
    assert execution(action, resource.replace(NAME, "another-stack")) == "not mentioned"


def test_no_role_is_written_without_the_boundary() -> None:
    """Nor is the boundary taken off: otherwise a deployer could create a role that may do anything."""
    for action in ("iam:CreateRole", "iam:PutRolePolicy", "iam:PutRolePermissionsBoundary"):
        assert execution(action, ROLE) == "allowed"
        assert execution(
            action, ROLE, **{"iam:PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess"}
        ) == ("not mentioned")
    assert execution("iam:DeleteRolePermissionsBoundary", ROLE) == "not mentioned"
    assert execution("iam:AttachRolePolicy", ROLE) == "not mentioned"


def test_nobody_is_given_a_permission_by_way_of_the_senders_policy() -> None:
    """A deployer can neither attach it nor change what it says, once somebody has it."""
    for action in ("iam:AttachRolePolicy", "iam:AttachUserPolicy", "iam:CreatePolicyVersion"):
        assert execution(action, POLICY) == "not mentioned"


def test_the_deployer_has_none_of_the_stacks_services() -> None:
    """Only CloudFormation, the upload of the package, and the role that it hands to CloudFormation."""
    policy = statements("DeployerPolicy")
    actions = {action for statement in policy for action in as_list(statement["Action"])}
    assert {action.split(":")[0] for action in actions} == {"cloudformation", "iam", "s3"}
    assert [a for a in actions if a.startswith("iam:")] == ["iam:PassRole"]
    assert not [a for a in actions if "*" in a]
    [unbounded] = [statement for statement in policy if statement["Resource"] == "*"]
    assert unbounded["Action"] == "cloudformation:GetTemplateSummary"


def grants() -> Iterator[tuple[str, str]]:
    """Yields each action that the stack's roles may do, and on which resource."""
    for resource in stack()["Resources"].values():
        properties = resource["Properties"]
        documents = [p["PolicyDocument"] for p in properties.get("Policies", [])]
        if resource["Type"] == "AWS::IAM::Policy":
            documents.append(properties["PolicyDocument"])
        for document in documents:
            for statement in resolve(document, names())["Statement"]:
                for action in as_list(statement["Action"]):
                    yield from ((action, target) for target in as_list(statement["Resource"]))


def test_the_boundary_lets_the_stacks_roles_do_all_that_their_policies_grant() -> None:
    """A boundary that is too narrow would break the function where no deployment notices."""
    granted = set(grants())
    assert ("ecr:BatchDeleteImage", "arn:aws:ecr:eu-west-1:123456789012:repository/team/*") in granted
    boundary = statements("Boundary")
    context = {"events:source": NAME}
    beyond = {g for g in granted if verdict(boundary, action=g[0], resource=g[1], context=context) != "allowed"}
    assert not beyond


def test_the_policies_fit() -> None:
    """IAM takes 6,144 characters in a managed policy, without white space."""
    for name, resource in DEPLOYER.items():
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            document = resolve(resource["Properties"]["PolicyDocument"], names())
            assert len(json.dumps(document, separators=(",", ":"))) <= 6144, name
