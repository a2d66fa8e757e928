"""The guide to results: its requests can be sent, its events are as their schemas say, its filters are filters."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from handler.models.event_types import RESULTS
from handler.request_parser import parse_request
from tests.values import payload

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "results.md").read_text()
SCHEMAS = {path.name.split(".")[0]: json.loads(path.read_text()) for path in (ROOT / "events" / "schemas").iterdir()}
BLOCKS: list[Any] = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)]


def test_its_request_asks_for_a_summary() -> None:
    """It can be sent as it stands."""
    [request] = [block for block in BLOCKS if "repositoryNames" in block]
    assert parse_request(payload(request)).notify == "summary"


def test_its_event_is_as_the_schema_says() -> None:
    """With no member that is not sent."""
    [event] = [block for block in BLOCKS if "resources" in block]
    jsonschema.validate(event["detail"], SCHEMAS["completed"])
    assert event["detail"]["data"].keys() <= SCHEMAS["completed"]["properties"]["data"]["properties"].keys()


def test_it_names_every_kind_of_event() -> None:
    """Each has a schema, under the last word of its name."""
    assert set(re.findall(r"^\| `(ECR Image Deletion \w+)` \|", GUIDE, re.MULTILINE)) == RESULTS
    assert {kind.rpartition(" ")[2].lower() for kind in RESULTS} == SCHEMAS.keys()
    assert {schema["title"] for schema in SCHEMAS.values()} == RESULTS


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_the_schemas_are_of_draft_4(schema: Any) -> None:
    """The draft that EventBridge's registry takes; every member is described by a type."""
    jsonschema.Draft4Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"


def test_its_query_displays_fields_that_are_written() -> None:
    """The command and the saved query are the same one."""
    template = (ROOT / "template.yaml").read_text()
    query = template[template.index("MessageQuery:") :].partition("\n\n")[0]
    [displayed] = re.findall(r"display ([\w@, ]+)'", GUIDE)
    assert displayed in " ".join(query.split())
