"""The operators' documents say what the template says, and their numbers add up."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from docs import dashboard
from tests.policies import as_list, verdict

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
TIMES = "\N{MULTIPLICATION SIGN}"
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]

KEY_POLICY, REPOSITORY_POLICY = (
    json.loads(text)["Statement"] for text in re.findall(r"```json\n(.+?)```", GUIDE, re.DOTALL)
)


def of_type(kind: str) -> dict[str, Any]:
    """The properties of each resource of a type."""
    return {name: resource["Properties"] for name, resource in RESOURCES.items() if resource["Type"] == kind}


def test_the_picture_shows_the_dashboard_that_is_deployed() -> None:
    """`python docs/dashboard.py` was run since the dashboard was changed."""
    assert dashboard.PICTURE.read_text() == dashboard.draw(dashboard.TEMPLATE.read_text())


def test_the_picture_changes_with_the_dashboard() -> None:
    """It is drawn from the template's widgets, not from a copy of them."""
    template = dashboard.TEMPLATE.read_text()

    assert dashboard.draw(template.replace('"title": "Dead letters"', '"title": "Lost"')) != dashboard.draw(template)


def test_the_dashboard_shows_what_an_operator_must_see() -> None:
    """Every alarm, and each of these metrics; no two widgets lie upon each other."""
    widgets = dashboard.dashboard_body(dashboard.TEMPLATE.read_text())["widgets"]
    shown = {
        metric.name for w in widgets if "metrics" in w["properties"] for metric in dashboard.metrics(w["properties"])
    }
    alarms = {arn.removesuffix(".Arn") for w in widgets for arn in w["properties"].get("alarms", [])}
    places = [
        (x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])
    ]

    assert shown == {
        "Requests",
        "RequestsRejected",
        "ImagesDeleted",
        "ImagesFailed",
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
        "Duration",
        "Errors",
        "Throttles",
    }
    assert alarms == of_type("AWS::CloudWatch::Alarm").keys()
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) == 23


def test_every_saved_query_is_in_the_guide() -> None:
    """Word for word, under its name."""
    queries = of_type("AWS::Logs::QueryDefinition")

    assert queries
    for query in queries.values():
        assert f"```\n{query['QueryString']}```" in GUIDE
        assert f"**{query['Name']['Fn::Sub'].partition('/')[2]}**" in GUIDE


def test_every_alarm_has_its_meaning_and_what_to_do() -> None:
    """A row for each, and none for an alarm that does not exist."""
    rows = re.findall(r"^\| `(\w+Alarm)` \| (.+?) \| (.+?) \| (.+?) \|$", GUIDE, re.MULTILINE)

    assert {name for name, *_ in rows} == of_type("AWS::CloudWatch::Alarm").keys()


def test_every_failure_code_has_what_to_do() -> None:
    """Those of the README's table, but for what ECR's own reason explains."""
    readme = (ROOT / "README.md").read_text()
    table = readme[readme.index("### Failure codes") : readme.index("### Metrics")]
    codes = {code for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)}

    assert len(codes) > 20
    explained_by_ecr = {"ImageInaccessible", "UpstreamAccessDenied", "Unknown"}
    assert {code for code in codes if f"`{code}`" not in GUIDE} == explained_by_ecr


def test_the_rejections_that_are_explained_are_those_that_exist() -> None:
    """Each is quoted as the function says it, but for the parts that differ."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "handler").rglob("*.py"))
    source = re.sub(r"[\"']\n +f?[\"']", "", source)
    rows = GUIDE[GUIDE.index("| `Why` says |") :].partition("\n\n")[0].splitlines()[2:]
    quotes = [quote for row in rows for quote in re.findall(r"`(request.+?)`", row.split(" | ")[0])]

    assert len(quotes) > len(rows) > 5
    parts = [part.strip() for quote in quotes for part in quote.split("…") if part.strip()]
    assert [part for part in parts if part not in source] == []


@pytest.mark.parametrize("action", ["kms:GenerateDataKey", "kms:Decrypt"])
def test_the_key_admits_every_service_that_writes(action: str) -> None:
    """The services that policies of queues and topic let write; without the key, what they write would be lost."""
    writers = {
        statement["Principal"]["Service"]
        for kind in ("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
        for properties in of_type(kind).values()
        for statement in properties["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow"
    }

    assert writers == {"events.amazonaws.com", "cloudwatch.amazonaws.com"}
    for service in writers:
        assert verdict(KEY_POLICY, action=action, resource="key", context={}, principal=service) == "allowed"
    assert verdict(KEY_POLICY, action=action, resource="key", context={}, principal="s3.amazonaws.com") != "allowed"


@pytest.mark.parametrize(
    ("group", "expected"), [("/aws/lambda/ecr-image-deletion", "allowed"), ("/aws/lambda/another", "not mentioned")]
)
def test_the_key_admits_the_log_of_the_function(group: str, expected: str) -> None:
    """CloudWatch Logs may use it for the stack's own log group, and for no other."""
    context = {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:eu-west-1:123456789012:log-group:{group}"}
    service = "logs.eu-west-1.amazonaws.com"

    for action in ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:GenerateDataKey", "kms:DescribeKey"):
        assert verdict(KEY_POLICY, action=action, resource="key", context=context, principal=service) == expected
    assert RESOURCES["FunctionLogGroup"]["Properties"]["LogGroupName"] == {"Fn::Sub": "/aws/lambda/${AWS::StackName}"}


def test_the_key_lets_iam_policies_decide_for_the_roles() -> None:
    """And these do: for messages and steps of the function, for messages of the schedule."""
    [account] = [s for s in KEY_POLICY if s["Principal"].get("AWS", "").endswith(":root")]
    granted = {
        name: {action for s in RESOURCES[name]["Properties"]["PolicyDocument"]["Statement"] for action in s["Action"]}
        for name in ("FunctionKeyPolicy", "ScheduleKeyPolicy")
    }

    assert account["Action"] == "kms:*"
    assert all({"kms:GenerateDataKey", "kms:Decrypt"} <= actions for actions in granted.values())


def test_repositories_of_other_accounts_admit_what_the_role_may_ask_for() -> None:
    """The example grants what the function's role is granted there, and nothing else."""
    [granted] = RESOURCES["ForeignRegistriesPolicy"]["Properties"]["PolicyDocument"]["Statement"]

    assert [as_list(statement["Action"]) for statement in REPOSITORY_POLICY] == [granted["Action"]]


def test_the_arithmetic_of_the_costs_is_right() -> None:
    """Each product, each sum, and each total."""
    costs = GUIDE[GUIDE.index("## Costs") : GUIDE.index("## Quotas")]
    number = r"([\d,.]+)(?: (?:million|GB-s|GB))?"
    products = re.findall(rf"{number} {TIMES} \$(\d+\.\d+) =(?: \|)? \$(\d+\.\d+)", costs)

    assert len(products) == costs.count("=") >= 20
    for count, price, product in products:
        assert round(float(count.replace(",", "")) * float(price), 2) == pytest.approx(float(product), abs=0.005)
    tables = re.findall(r"((?:^\|.+\n)+?)^\| \*\*in all\*\* \| \| \*\*\$([\d.]+)\*\* \|$", costs, re.MULTILINE)
    assert len(tables) == 2
    for rows, total in tables:
        assert sum(map(float, re.findall(r"\$([\d.]+) \|$", rows, re.MULTILINE))) == pytest.approx(float(total))


def test_the_alarms_in_the_costs_are_those_there_are() -> None:
    """Their number times their price is what they cost each month."""
    assert f"| alarms | {len(of_type('AWS::CloudWatch::Alarm'))} {TIMES} " in GUIDE


@pytest.mark.parametrize("name", ["operations.md", "release.md"])
def test_links_lead_somewhere(name: str) -> None:
    """To a heading of the guide, or to a file that is there."""
    text = (ROOT / "docs" / name).read_text()

    def anchors(markdown: str) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
        return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", text)
    assert links
    for file, anchor in links:
        path = ROOT / "docs" / (file or name)
        assert path.exists(), path
        if anchor:
            assert anchor in anchors(path.read_text())
