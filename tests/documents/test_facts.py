"""Quotations in the documents are as the template, the benchmarks' results and the code have them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from docs import facts
from tests.examples import stack

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
TEMPLATE: dict[str, Any] = stack()
TIMES = "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize("name", facts.BLOCKS)
def test_quoted_blocks_are_up_to_date(name: str) -> None:
    """`python docs/facts.py` was run since the template, the results or the code were changed."""
    assert (ROOT / name).read_text() == facts.filled(name)


def test_a_change_of_the_template_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter that is described otherwise makes another document."""
    before = facts.filled("docs/deploy.md")
    changed = (ROOT / "template.yaml").read_text().replace("How many images one request", "How many tags one request")
    (tmp_path / "template.yaml").write_text(changed)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.setattr(facts, "ROOT", tmp_path)
    assert facts.filled("docs/deploy.md") != before


def test_every_parameter_output_and_statement_is_in_the_guide() -> None:
    """No group of the console leaves one out."""
    deploy = DOCUMENTS["deploy.md"]
    for name in (*TEMPLATE["Parameters"], *TEMPLATE["Outputs"]):
        assert f"\n| `{name}` | " in deploy, name
    sids = [statement["Sid"] for role in ("FunctionRole", "UsageRole") for statement in facts.statements(role)]
    for sid in sids:
        assert deploy.count(f"\n| `{sid}` | ") == 2 * sids.count(sid)  # what it allows, and why


def test_the_permissions_are_those_of_the_example() -> None:
    """In account 123456789012, where RepositoryPattern is preview/*: that pattern once, and no other repository."""
    assert (
        "| `LookBefore` | `ecr:BatchGetImage`, `ecr:DescribeImages`, `ecr:ListImageReferrers` | "
        "`arn:aws:ecr:eu-west-1:123456789012:repository/preview/*` |" in (facts.permissions())
    )


def test_defaults_in_the_text_are_those_of_the_template() -> None:
    """Of limits, of time-outs and of what is kept for how long."""
    properties = {
        name: resource["Properties"] for name, resource in TEMPLATE["Resources"].items() if "Properties" in resource
    }
    function, queue = properties["DeletionFunction"], properties["RequestQueue"]
    executions = TEMPLATE["Parameters"]["MaxConcurrency"]["Default"]
    calls = int(function["Environment"]["Variables"]["MAX_CONCURRENT_CALLS"])
    performance = DOCUMENTS["performance.md"]
    assert f"| {calls} calls at a time |" in performance
    assert f"calls at a time is fixed at {calls}." in performance
    assert f"ten requests; {executions} by default" in performance
    assert f"with five executions, {5 * calls} in all" in performance
    assert executions == 5
    assert TEMPLATE["Parameters"]["MaxConcurrency"]["MinValue"] == 2
    assert "set `MaxConcurrency` to 2, the least" in performance
    operations = DOCUMENTS["operations.md"]
    limit = TEMPLATE["Parameters"]["MaxImagesPerRequest"]
    assert f"| {limit['Default']:,} by default, {limit['MaxValue']:,} at most;" in operations
    assert f"(`MaxConcurrency` + `BulkMaxConcurrency`) {TIMES} {calls} calls at a time" in operations
    defaults = {name: entry.get("Default") for name, entry in TEMPLATE["Parameters"].items()}
    named = ("MaxConcurrency", "BulkMaxConcurrency", "BulkTimeout")
    assert ", ".join(f"`{name}` {defaults[name]}" for name in named) + "." in operations
    [measured] = re.findall(r"`BulkMaxConcurrency` (\d+): as many", facts.FLEET.read_text())
    assert f"at-fleet-scale), with `BulkMaxConcurrency` {measured} and" in operations
    reliability = DOCUMENTS["reliability.md"]
    assert f"The function has {function['Timeout']} seconds;" in reliability
    assert f"`BulkTimeout` says, {defaults['BulkTimeout']} by default" in reliability
    assert f"on the request queue after {queue['VisibilityTimeout'] // 60} minutes" in reliability
    receives, bulk = (properties[name]["RedrivePolicy"]["maxReceiveCount"] for name in ("RequestQueue", "BulkQueue"))
    assert f"after {receives} receives ({bulk} on the bulk queue)" in reliability
    hours = TEMPLATE["Mappings"]["BulkTimes"][str(defaults["BulkTimeout"])]["Visibility"] / 3_600
    assert (hours, bulk * hours) == (1.5, 4.5)
    assert "an hour and a half, and 3 times at most, so after four and a half hours" in " ".join(reliability.split())
    assert f"expires after {queue['MessageRetentionPeriod'] // 86_400} days" in reliability
    assert f"until {properties['DeadLetterQueue']['MessageRetentionPeriod'] // 86_400} days after" in reliability


def test_constants_in_the_text_are_those_of_the_code() -> None:
    """How long is remembered, how often is tried, how much belongs to one image."""
    from handler.deletion import TRANSIENT_TRIES  # noqa: PLC0415
    from handler.models.families import Family, FoundFamilies  # noqa: PLC0415
    from handler.models.limits import MAX_TURNS, STORED_BYTES  # noqa: PLC0415
    from handler.step_table import CLAIM_SECONDS  # noqa: PLC0415
    from handler.workflows.fan_out import _REQUESTS_PER_STEP  # noqa: PLC0415

    days = CLAIM_SECONDS // 86_400
    assert f"under the same key for {days} days" in DOCUMENTS["requests.md"]
    assert f"arrives within {days} days" in README
    assert f"continued at most {MAX_TURNS} times" in DOCUMENTS["selections.md"]
    assert f"asked for {TRANSIENT_TRIES} times" in DOCUMENTS["reference.md"]
    assert f"sends at most {_REQUESTS_PER_STEP} requests in a step" in DOCUMENTS["reliability.md"]
    [count] = re.findall(r"\| relatives of one image \| some ([\d,]+) here \|", DOCUMENTS["operations.md"])
    digests = [f"sha256:{n:064x}" for n in range(int(count.replace(",", "")))]
    stored = len(json.dumps(FoundFamilies((Family(digests[0], None, tuple(digests[1:])),)).to_json()))
    assert 0.95 * STORED_BYTES < stored <= STORED_BYTES


def test_the_quick_start_names_parameters_and_outputs_that_exist() -> None:
    """In every command of every document."""
    for name, text in {"README.md": README, **DOCUMENTS}.items():
        for output in re.findall(r"\$\(output (\w+)\)", text):
            assert output in TEMPLATE["Outputs"], (name, output)
        for overrides in re.findall(r'--parameter-overrides "([^"]+)"', text):
            for parameter in re.findall(r"(\w+)=", overrides):
                assert parameter in TEMPLATE["Parameters"], (name, parameter)


def test_parameters_in_files_exist() -> None:
    """Those of the schedule's example, whose request the template would take."""
    [text] = re.findall(r"```yaml\n(RepositoryPattern.*?)```", DOCUMENTS["sending.md"], re.DOTALL)
    given = yaml_parse(text)
    for name, value in given.items():
        pattern = TEMPLATE["Parameters"][name].get("AllowedPattern", ".*")
        assert re.fullmatch(pattern, value), name
    assert {"ScheduleExpression", "ScheduleRequest"} <= given.keys()


def test_a_million_costs_what_the_results_say() -> None:
    """And the month's fixed costs in the README are those of the guide."""
    costs = DOCUMENTS["operations.md"].partition("**Each month, whatever happens**")[2]
    fixed = re.findall(r"^\| (?:alarms|metrics).*\$([\d.]+) \|$", costs, re.MULTILINE)
    assert len(fixed) == 2
    assert f"cost ${sum(map(float, fixed)):.2f} a month" in README
