"""Requests, answers, notices, failure codes, metrics and log entries are described as they are."""

import json
import re
from pathlib import Path

import pytest

from handler.models.errors import RejectedRequestError
from handler.models.request import Origin, Payload
from handler.request_parser import parse_request

ROOT = Path(__file__).parents[2]
HANDLER = ROOT / "src" / "handler"
REQUESTS, SELECTIONS, REFERENCE, OPERATIONS = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("requests", "selections", "reference", "operations")
)
SOURCE = {path.relative_to(HANDLER).as_posix(): path.read_text() for path in HANDLER.rglob("*.py")}
EXPLAINED = REQUESTS + SELECTIONS + REFERENCE

MISTAKES = re.findall(r"^\| `(\{.*?\})` \| `(.*)` \|$", REQUESTS, re.MULTILINE)


def payload(content: str) -> Payload:
    """A request that has arrived."""
    return Payload(json.loads(content), Origin("message", "id", "queue"), ("message", "id"))


def test_every_key_of_a_request_is_explained() -> None:
    """In a row of its table, those of a selection too."""
    properties = json.loads((HANDLER / "deletion_request.schema.json").read_text())["properties"]
    for key in properties:
        assert re.search(rf"^\| `{key}` \|", REQUESTS, re.MULTILINE), key
    for key in properties["selection"]["properties"]:
        assert re.search(rf"^\| `{key}` \|", SELECTIONS, re.MULTILINE), key


@pytest.mark.parametrize(("request_", "error"), MISTAKES, ids=[error for _, error in MISTAKES])
def test_a_mistake_is_rejected_in_the_words_of_the_guide(request_: str, error: str) -> None:
    """Each of the usual mistakes of a first day."""
    with pytest.raises(RejectedRequestError, match=rf"^{re.escape(error)}$"):
        parse_request(payload(request_))


def test_the_examples_are_requests() -> None:
    """Every JSON block of the guides that names a repository can be sent as it stands."""
    blocks = re.findall(r"```json\n(.*?)```", REQUESTS + SELECTIONS, re.DOTALL)
    assert len(blocks) > 10
    for block in blocks:
        parse_request(payload(block))


CODES = (
    *("guards.py", "models/failure_codes.py", "models/images.py", "registry/batch_delete.py", "registry/families.py"),
    *("selection/plan.py", "selection/engine.py", "workflows/selection.py"),
)
"""Modules that give codes to failures, and reasons to what is kept."""


@pytest.mark.parametrize("module", CODES)
def test_every_code_and_reason_is_explained(module: str) -> None:
    """Whatever a guard, a selection or a chunk may say of an image."""
    names = " ".join(re.findall(r"import (.*)", SOURCE[module]))
    codes = {word for word in re.findall(r'"((?:[A-Z][a-z]+){2,})"', SOURCE[module]) if word not in names}
    assert codes
    codes -= {"LeftUntagged", "LoggerAdapter"}  # these are counted, under a key of their own; and a type
    assert {code for code in codes if f"`{code}`" not in EXPLAINED} == set()


def test_every_failure_code_has_what_to_do() -> None:
    """But for what ECR's own reason explains."""
    table = REFERENCE[REFERENCE.index("## Failure codes") : REFERENCE.index("## Messages")]
    codes = {code for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for code in re.findall(r"`(\w+)`", row)}
    assert len(codes) > 20
    explained_by_ecr = {"ImageInaccessible", "UpstreamAccessDenied", "Unknown"}
    assert {code for code in codes if f"`{code}`" not in OPERATIONS} == explained_by_ecr


def test_every_key_of_a_report_is_explained() -> None:
    """Of the answer and of the notice."""
    text = (
        SOURCE["models/report.py"]
        + SOURCE["notifications/data.py"]
        + SOURCE["models/summary.py"]
        + SOURCE["models/request.py"]
    )
    keys = set(re.findall(r'(?:"|\[")([a-z]+(?:[A-Z][a-z]+)+)"\]?(?::| =)', text)) | {"unconfirmed", "sender"}
    assert {"keptByReason", "continuedAs", "dryRun", "retryRequest", "failuresOmitted", "unconfirmedReason"} <= keys
    assert {key for key in keys if f"`{key}`" not in EXPLAINED and f'"{key}"' not in EXPLAINED} == set()


def test_every_log_entry_is_explained() -> None:
    """And none that does not exist."""
    text = "".join(SOURCE.values())
    written = set(re.findall(r'(?:log|_log)\.(?:debug|info|warning|error)\(\s*"([^"]+)"', text))
    written |= set(re.findall(r'message = "([^"]+)" if .* else "([^"]+)"', SOURCE["workflows/process.py"])[0])
    table = REFERENCE[REFERENCE.index("| `message` | fields |") :]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`([a-z][^`]+)`", row)}
    assert described - {"message"} == written  # the head of each table


def test_every_metric_is_explained() -> None:
    """And none that does not exist."""
    counted = set(re.findall(r"\b([A-Z]\w+)=0", SOURCE["app.py"])) | set(
        re.findall(r'counts\["(\w+)"\]', SOURCE["app.py"])
    )
    counted |= set(re.findall(r'"(Images\w+)"', SOURCE["app.py"]))
    counted |= set(re.findall(r'_count\("(\w+)"', SOURCE["usage/measures.py"]))
    table = REFERENCE[REFERENCE.index("## Metrics") : REFERENCE.index("## Logs")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == counted


def test_the_envelope_is_the_one_that_is_sent() -> None:
    """The example of a follow-up request has its members, and can be read."""
    [block] = re.findall(r'```json\n(\{\n  "followUp".*?)```', REFERENCE, re.DOTALL)
    envelope = json.loads(block)
    sent = SOURCE["request_queue.py"].partition("follow_up = {")[2].partition("}")[0]
    assert set(re.findall(r'"(\w+)":', sent)) == set(envelope["followUp"])
    parse_request(Payload(envelope["request"], Origin(**envelope["followUp"]["origin"]), ("child",), "name"))
