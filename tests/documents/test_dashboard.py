"""The picture of the dashboard is drawn from the template, and shows what an operator must see."""

import itertools
import json
import re

import pytest

from docs import dashboard
from tests.examples import resolve, stack

TEMPLATE = dashboard.TEMPLATE.read_text()


def test_the_picture_shows_the_dashboard_that_is_deployed() -> None:
    """`python docs/dashboard.py` was run since the dashboard was changed."""
    assert dashboard.PICTURE.read_text() == dashboard.draw(TEMPLATE)


def test_the_picture_changes_with_the_dashboard() -> None:
    """It is drawn from the template's widgets, not from a copy of them."""
    changed = TEMPLATE.replace('"title": "Dead letters"', '"title": "Lost"')
    assert dashboard.draw(changed) != dashboard.draw(TEMPLATE)


def test_the_dashboard_shows_what_an_operator_must_see() -> None:
    """Every alarm that each stack has, and each of these metrics; no two widgets lie upon each other."""
    widgets = dashboard.dashboard_body(TEMPLATE)["widgets"]
    shown = {
        metric.name for w in widgets if "metrics" in w["properties"] for metric in dashboard.metrics(w["properties"])
    }
    alarms = {arn.removesuffix(".Arn") for w in widgets for arn in w["properties"].get("alarms", [])}
    always = {
        name
        for name, resource in stack()["Resources"].items()
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in resource
    }
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
        "UsageAgeMinutes",
        "ImagesInUse",
        "ImagesRefusedInUse",
    }
    assert alarms == always
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) == 23


@pytest.mark.parametrize(("protected", "shown"), [("ecs", 11), ("", 8)])
def test_a_stack_without_images_in_use_has_no_row_for_them(protected: str, shown: int) -> None:
    """CloudWatch takes the body in both cases, and what a search asks for is the stack's own."""
    body = stack()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    text = resolve(body, {}, false=[] if protected else ["ProtectsInUse"])
    widgets = json.loads(text)["widgets"]
    assert len(widgets) == shown
    searches = re.findall(r"SEARCH\('(.+?)', '", text.replace('\\"', '"'))
    assert [search.partition(" ")[0] for search in searches] == ["{EcrImageDeletion,service,source}"] * (
        shown // 11 * 2
    )
    assert all('service="stack"' in search for search in searches)


def test_every_line_has_its_place_in_the_legend() -> None:
    """Under its label, and no two labels of a widget lie upon each other."""
    picture = dashboard.PICTURE.read_text()
    marks = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="10" height="10" rx="2" fill="(#\w+)"/>', picture)
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-size="11" fill="#16191f">([^<]+)</text>', picture)
    assert [label for _, _, label in texts].count("p50") == [label for _, _, label in texts].count("p99") == 1
    for (x, y, _), (text_x, text_y, _) in zip(marks, texts, strict=True):
        assert (float(text_x) - float(x), float(text_y) - float(y)) == (15, 9)
    rows = sorted((float(y), float(x), len(label)) for x, y, label in texts)
    for (y, x, characters), (next_y, next_x, _) in itertools.pairwise(rows):
        assert y != next_y or x + 5.5 * characters < next_x
