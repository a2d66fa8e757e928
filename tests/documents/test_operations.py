"""The operators' guide knows every alarm, every rejection and every price, and its commands do what they say."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handler.step_table import partition_key
from tests.examples import stack

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
RESOURCES: dict[str, Any] = stack()["Resources"]
ALARMS = {name: resource for name, resource in RESOURCES.items() if resource["Type"] == "AWS::CloudWatch::Alarm"}
TIMES = "\N{MULTIPLICATION SIGN}"


def test_every_alarm_has_its_meaning_and_what_to_do() -> None:
    """A row for each, those with a condition last, and none for an alarm that does not exist."""
    rows = re.findall(r"^\| `(\w+Alarm)` \| (.+?) \| (.+?) \| (.+?) \|$", GUIDE, re.MULTILINE)
    names = [name for name, *_ in rows]
    conditional = {name for name, alarm in ALARMS.items() if "Condition" in alarm}
    assert set(names) == ALARMS.keys()
    assert set(names[-len(conditional) :]) == conditional
    assert "The last eight exist only" in GUIDE
    assert len(conditional) == 8


def test_the_rejections_that_are_explained_are_those_that_exist() -> None:
    """Each is quoted as the function says it, but for the parts that differ."""
    source = "".join(path.read_text() for path in (ROOT / "src" / "handler").rglob("*.py"))
    source = re.sub(r"[\"']\n +f?[\"']", "", source)
    rows = GUIDE[GUIDE.index("| `Why` says |") :].partition("\n\n")[0].splitlines()[2:]
    quotes = [
        quote for row in rows for quote in re.findall(r"`((?:request|source|says|a followUp).+?)`", row.split(" | ")[0])
    ]
    assert len(quotes) > len(rows) > 5
    parts = [part.strip() for quote in quotes for part in quote.split("…") if part.strip()]
    assert [part for part in parts if part not in source] == []


@pytest.mark.parametrize("request_id", ["close-pr-417", "arn:aws:scheduler:…/2026", 'with "quotes" and spaces'])
def test_a_request_is_found_in_the_table(request_id: str) -> None:
    """The command makes the partition key that the function uses."""
    [program] = re.findall(r"python3 -c '(import hashlib.*?)' \\\n  request", GUIDE)
    made = subprocess.run(
        [sys.executable, "-c", program, "request", request_id], capture_output=True, check=True, text=True
    )
    assert made.stdout.strip() == partition_key(("request", request_id))


def test_the_arithmetic_of_the_costs_is_right() -> None:
    """Each product, each sum, and each total."""
    costs = GUIDE[GUIDE.index("## Costs") : GUIDE.index("## Quotas")]
    number = r"([\d,.]+)(?: (?:million|GB-s|GB))?"
    products = re.findall(rf"{number} {TIMES} \$(\d+\.\d+) =(?: \|)? \$(\d+\.\d+)", costs)
    assert len(products) == costs.count("=") >= 20
    for count, price, product in products:
        assert float(count.replace(",", "")) * float(price) == pytest.approx(float(product), abs=0.0051)
    tables = re.findall(r"((?:^\|.+\n)+?)^\| \*\*in all\*\* \| \| \*\*\$([\d.]+)\*\* \|$", costs, re.MULTILINE)
    assert len(tables) == 2
    for rows, total in tables:
        assert sum(map(float, re.findall(r"\$([\d.]+) \|$", rows, re.MULTILINE))) == pytest.approx(float(total))


def test_the_alarms_in_the_costs_are_those_that_every_stack_has() -> None:
    """Their number times their price is what they cost each month; the others come with what they watch."""
    always = [name for name, alarm in ALARMS.items() if "Condition" not in alarm]
    assert re.search(rf"^\| alarms;.* \| {len(always)} {TIMES} \$0\.10", GUIDE, re.MULTILINE)


def test_the_repeated_prices_are_those_of_the_benchmarks() -> None:
    """Both reckon with the same list."""
    prices = json.dumps([path.read_text() for path in (ROOT / "benchmarks").glob("*.py")])
    for price in ("0.0000166667", "0.625", "0.40", "0.20"):
        assert price in prices
        assert f"${price}" in GUIDE
