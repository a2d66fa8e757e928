"""Types of resource that moto serves but its CloudFormation cannot deploy; moto finds these classes by itself."""

import json
from functools import wraps
from typing import Any, Self, cast

from moto.awslambda.models import lambda_backends
from moto.cloudformation import parsing
from moto.cloudformation.models import Stack
from moto.cloudwatch.models import Dimension, Metric, MetricDataQuery, MetricStat, cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.scheduler.models import scheduler_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

type Json = dict[str, Any]


class _Named:
    """A resource that is known by a name, and perhaps by an ARN."""

    def __init__(self, name: str, arn: str = "") -> None:
        self.physical_resource_id = name
        self._arn = arn

    def get_cfn_attribute(self, attribute_name: str) -> str:
        if attribute_name != "Arn" or not self._arn:
            raise NotImplementedError(f"{{}} has no attribute {attribute_name} here")
        return self._arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""


class ScheduleGroupResource(_Named, CloudFormationModel):
    """A group of schedules."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Scheduler::ScheduleGroup"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        group = scheduler_backends[account_id][region_name].create_schedule_group(
            cloudformation_json["Properties"].get("Name", resource_name), tags=[]
        )
        return cls(str(group.name), str(group.arn))


class ScheduleResource(_Named, CloudFormationModel):
    """A schedule, which never runs by itself: see EmbeddedAWS.run_schedule."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Scheduler::Schedule"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        schedule = scheduler_backends[account_id][region_name].create_schedule(
            name=resource_name,
            group_name=properties.get("GroupName"),
            description=properties.get("Description"),
            schedule_expression=properties["ScheduleExpression"],
            schedule_expression_timezone=properties.get("ScheduleExpressionTimezone"),
            flexible_time_window=properties["FlexibleTimeWindow"],
            start_date=properties.get("StartDate"),
            end_date=properties.get("EndDate"),
            state=properties.get("State"),
            target=properties["Target"],
            kms_key_arn=properties.get("KmsKeyArn"),
            action_after_completion=None,
        )
        return cls(str(schedule.name), str(schedule.arn))


class AlarmResource(_Named, CloudFormationModel):
    """An alarm, which never rings by itself."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        alarm = cloudwatch_backends[account_id][region_name].put_metric_alarm(
            name=resource_name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            metric_data_queries=[_query(metric) for metric in properties.get("Metrics", [])],
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=int(properties["EvaluationPeriods"]),
            period=int(properties.get("Period", 0)),
            threshold=float(properties["Threshold"]),
            statistic=properties.get("Statistic"),
            description=properties["AlarmDescription"],
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties["AlarmActions"],
            datapoints_to_alarm=properties.get("DatapointsToAlarm"),
            treat_missing_data=properties["TreatMissingData"],
        )
        return cls(resource_name, str(alarm.alarm_arn))


def _query(metric: Json) -> MetricDataQuery:
    """One of the metrics that an alarm computes with."""
    stat = metric.get("MetricStat")
    return MetricDataQuery(
        query_id=metric["Id"],
        label=metric.get("Label", ""),
        period=stat["Period"] if stat else None,
        return_data=str(metric.get("ReturnData", True)).lower(),
        expression=metric.get("Expression"),
        metric_stat=stat
        and MetricStat(
            metric=Metric(
                metric_name=stat["Metric"]["MetricName"],
                namespace=stat["Metric"]["Namespace"],
                dimensions=[Dimension(d["Name"], d["Value"]) for d in stat["Metric"]["Dimensions"]],
            ),
            period=stat["Period"],
            stat=stat["Stat"],
            unit=None,
        ),
    )


class QueuePolicyResource(_Named, CloudFormationModel):
    """The policy of a queue, which moto keeps and does not enforce."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        for url in properties["Queues"]:
            sqs_backends[account_id][region_name].set_queue_attributes(
                url.rpartition("/")[2], {"Policy": json.dumps(properties["PolicyDocument"])}
            )
        return cls(resource_name)


class TopicPolicyResource(_Named, CloudFormationModel):
    """The policy of a topic, which moto keeps and does not enforce."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::TopicPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        for arn in properties["Topics"]:
            sns_backends[account_id][region_name].set_topic_attribute(arn, "_policy_json", properties["PolicyDocument"])
        return cls(resource_name)


class SubscriptionResource(_Named, CloudFormationModel):
    """A subscription, to which nothing is sent: see EmbeddedAWS.notices."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SNS::Subscription"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        subscription = sns_backends[account_id][region_name].subscribe(
            properties["TopicArn"], properties["Endpoint"], properties["Protocol"]
        )
        return cls(resource_name, str(subscription.arn))


class EventInvokeConfigResource(_Named, CloudFormationModel):
    """The settings for asynchronous invocations, of which there are none here."""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Lambda::EventInvokeConfig"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Json, account_id: str, region_name: str, **_: Any
    ) -> Self:
        properties = cloudformation_json["Properties"]
        config = {key: value for key, value in properties.items() if key not in {"FunctionName", "Qualifier"}}
        lambda_backends[account_id][region_name].put_function_event_invoke_config(properties["FunctionName"], config)
        return cls(resource_name)


def install() -> None:
    """From now on, moto's CloudFormation leaves out of a list what AWS::NoValue stands for, as it does elsewhere.

    It finds numbers in mappings, whose keys are text, and shows a parameter that is a list as it was given. And it
    reads JSON as JSON: as YAML, the template takes four fifths of the time that its stack does.
    """
    if hasattr(parsing.clean_json, "__wrapped__"):
        return
    clean = parsing.clean_json

    @wraps(clean)
    def clean_json(value: Any, resources: Any) -> Any:
        match value:
            case {"Fn::FindInMap": [mapping, *keys]}:
                value = {"Fn::FindInMap": [mapping, *(str(clean_json(key, resources)) for key in keys)]}
        cleaned = clean(value, resources)
        return [item for item in cleaned if item is not None] if isinstance(value, list) else cleaned

    parsing.clean_json = clean_json
    read_yaml = Stack.parse_template

    @wraps(read_yaml)
    def parse_template(template: str) -> dict[str, Any]:
        return cast("dict[str, Any]", json.loads(template)) if template.startswith("{") else read_yaml(template)

    Stack.parse_template = staticmethod(parse_template)
    shown = Stack.parameter_list

    def parameter_list(stack: Stack) -> list[dict[str, Any]]:
        entries = shown.fget(stack)
        return [
            entry | ({"ParameterValue": ",".join(value)} if isinstance(value := entry["ParameterValue"], list) else {})
            for entry in entries
        ]

    Stack.parameter_list = property(parameter_list)
