"""Writes into the documents what they quote: from template.yaml, from the results in benchmarks/, and from the code.

Run `python docs/facts.py` after a change of any of these; a test compares. Each block stands between two comments, such
as `<!-- parameters: begin -->` and `<!-- parameters: end -->`.
"""
# ruff: noqa: INP001  # a script; the folder is no package

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

type Block = Callable[[], str]

ROOT = Path(__file__).resolve().parent.parent
CONDITIONS = {"Archives": "(with `AllowArchive` or `GracePeriodDays`)"}
"""The conditions under which an action is allowed, in words."""
RESULTS, FLEET = ROOT / "benchmarks" / "RESULTS.md", ROOT / "benchmarks" / "FLEET.md"
EXAMPLE = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "RepositoryPattern": "preview/*",
}
"""The meaning of the template's names in the documents' examples."""
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:ecr-image-deletion-RequestQueue-KIMRMUNY69Q0"


def template() -> dict[str, Any]:
    """Returns template.yaml, its short functions spelled out."""
    read: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return read


def parameters() -> str:
    """Returns a table of parameters for each group that the console shows."""
    read = template()
    interface = read["Metadata"]["AWS::CloudFormation::Interface"]
    tables = [
        f"**{group['Label']['default']}**\n\n"
        + table(
            ["parameter", "default", "meaning"],
            [
                [f"`{name}`", _default(read["Parameters"][name]), _quoted(read["Parameters"][name]["Description"])]
                for name in group["Parameters"]
            ],
        )
        for group in interface["ParameterGroups"]
    ]
    return "\n\n".join(tables)


def outputs() -> str:
    """Returns a table of the stack's outputs."""
    rows = [[f"`{name}`", output["Description"]] for name, output in template()["Outputs"].items()]
    return table(["output", ""], rows)


def permissions() -> str:
    """Returns a table of what the role of the function that deletes may do, and on what."""
    return _permissions("FunctionRole")


def usage_permissions() -> str:
    """Returns a table of what the role of the function that reads what is in use may do, with every source."""
    return _permissions("UsageRole")


def statements(role: str) -> list[Any]:
    """Returns the statements of a role's policy, those too that are there under a condition."""
    [policy] = template()["Resources"][role]["Properties"]["Policies"]
    return [part.get("Fn::If", ["", part])[1] for part in policy["PolicyDocument"]["Statement"]]


def _permissions(role: str) -> str:
    rows = [
        [
            f"`{statement['Sid']}`",
            ", ".join(map(_action, _listed(statement["Action"]))),
            ", ".join(dict.fromkeys(f"`{resolve(resource)}`" for resource in _listed(statement["Resource"]))),
        ]
        for statement in statements(role)
    ]
    return table(["statement", "allows", "on"], rows)


def _action(action: Any) -> str:
    """Returns an action, with the condition under which it is allowed."""
    if isinstance(action, dict):
        condition, allowed, _ = action["Fn::If"]
        return f"`{allowed}` {CONDITIONS[condition]}"
    return f"`{action}`"


def queries() -> str:
    """Returns the saved queries under their names."""
    found = [
        (resource["Properties"]["Name"]["Fn::Sub"].partition("/")[2], resource["Properties"]["QueryString"])
        for resource in template()["Resources"].values()
        if resource["Type"] == "AWS::Logs::QueryDefinition"
    ]
    return "\n\n".join(f"**{name}**\n\n```\n{query}```" for name, query in found)


def speed() -> str:
    """Returns what was measured, without the goals."""
    return _measured(RESULTS, "# How fast it is")


def guard() -> str:
    """Returns what was measured of the guard of images in use, without the goals."""
    return _measured(RESULTS, "## What the guard of images in use costs")


def fleet() -> str:
    """Returns what was measured of a night of many repositories while ECR does not throttle, without the goals."""
    return _measured(FLEET, "## While ECR does not throttle")


def throttled_fleet() -> str:
    """Returns the same while ECR throttles."""
    return _measured(FLEET, "## While ECR throttles")


def fleet_growth() -> str:
    """Returns how such a night grows with the number of repositories."""
    return _first_table(FLEET, "## How it grows")


def costs() -> str:
    """Returns what a million requests or images cost."""
    return _first_table(RESULTS, "## What it costs")


def failure_notice() -> str:
    """Returns a notice of three images, as e-mail."""
    return _notice(
        "team/app",
        deleted=["pr-417"],
        failed=[
            ("pr-418", "UpstreamUnavailable", "The upstream registry is unavailable"),
            ("feature/login", "", ""),
        ],
    )


def short_notice() -> str:
    """Returns a notice of two images, as e-mail."""
    failed = [("pr-417-debug", "ImageNotFound", "Requested image not found")]
    return _notice("preview/app", deleted=["pr-417"], failed=failed)


def status() -> str:
    """Returns where it has run on AWS itself: what the last run of `make acceptance` has written down."""
    [last] = re.findall(r"^Last run: (.*)$", (ROOT / "acceptance" / "FACTS.md").read_text(), re.MULTILINE)
    if last.startswith("**Not"):
        return (
            "**It has not yet run in a real AWS account, and there is no release yet.** Whoever has one can prove it "
            "there in ten\nminutes: [`make acceptance`](docs/acceptance.md)."
        )
    return f"**There is no release yet.** On AWS, [`make acceptance`](docs/acceptance.md) last ran on {last}."


def not_served() -> str:
    """Returns what imitations of AWS cannot serve of `make acceptance`, and why."""
    sys.path.insert(0, str(ROOT))
    from acceptance.imitations import NOT_SERVED  # noqa: PLC0415  # on the path since the line before

    rows = [
        [imitation, ", ".join(f"`{name}`" for name, why in served.items() if why == reason), reason]
        for imitation, served in NOT_SERVED.items()
        for reason in dict.fromkeys(served.values())
    ]
    return table(["imitation", "not served", "because"], rows)


BLOCKS: Mapping[str, Mapping[str, Block]] = {
    "README.md": {"status": status, "notice": short_notice, "costs": costs},
    "docs/acceptance.md": {"not served": not_served},
    "docs/deploy.md": {
        "parameters": parameters,
        "outputs": outputs,
        "permissions": permissions,
        "usage permissions": usage_permissions,
    },
    "docs/operations.md": {"queries": queries},
    "docs/performance.md": {
        "speed": speed,
        "guard": guard,
        "fleet": fleet,
        "throttled fleet": throttled_fleet,
        "fleet growth": fleet_growth,
    },
    "docs/reference.md": {"notice": failure_notice},
}
"""The blocks of each document."""


def filled(name: str) -> str:
    """Returns a document with its blocks as they should be."""
    text = (ROOT / name).read_text()
    for block, content in BLOCKS[name].items():
        begin, end = f"<!-- {block}: begin -->\n", f"<!-- {block}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{name} must have one block {block}")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{content()}\n\n{end}{rest.partition(end)[2]}"
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def resolve(value: Any) -> str:
    """Returns what a value of the template is in the example; a resource is called by its logical name."""
    match value:
        case str():
            return value
        case {"Ref": str(name)}:
            return EXAMPLE.get(name, name)
        case {"Fn::GetAtt": [str(name), *_]}:
            return name
        case {"Fn::Join": [str(separator), list(parts)]}:
            return separator.join(map(resolve, parts))
        case {"Fn::Select": [index, {"Fn::Split": [str(separator), whole]}]}:
            return resolve(whole).split(separator)[int(index)]
        case {"Fn::Sub": str(text) | [str(text)]}:
            names: dict[str, Any] = {}
        case {"Fn::Sub": [str(text), dict(names)]}:
            pass
        case _:
            raise ValueError(f"a value that the documents cannot show: {value}")
    return _substituted(text, {name: resolve(own) for name, own in names.items()})


def _substituted(text: str, names: Mapping[str, str]) -> str:
    known = {**EXAMPLE, **names}
    return re.sub(r"\$\{([\w:]+)(?:\.\w+)?\}", lambda name: known.get(name[1], name[1]), text)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _default(parameter: Mapping[str, Any]) -> str:
    if "Default" not in parameter:
        return "none: you must choose"
    return f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"


def _quoted(description: str) -> str:
    """Returns a description with its examples as code: in Markdown, stars would be emphasis."""
    return re.sub(r'"([^"]*)"', r"`\1`", description.strip())


def _measured(results: Path, heading: str) -> str:
    """Returns the table of goals under a heading of the results, without the goals."""
    rows = [
        [work, against, _ratio(median, goal), "" if figures.endswith("below") else figures]
        for work, against, goal, median, _, _, figures in _rows(results, heading)
    ]
    return table(["work", "compared with", "result", "in figures"], rows)


def _rows(results: Path, heading: str) -> Iterator[list[str]]:
    """Yields the cells of the first table under a heading of the results."""
    _, _, *lines = _first_table(results, heading).splitlines()
    for line in lines:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _first_table(results: Path, heading: str) -> str:
    """Returns the first table under a heading of the results, as it stands there."""
    _, _, text = results.read_text().partition(f"{heading}\n")
    found = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    if not found:
        raise ValueError(f"{results.name} has no table under {heading}")
    return found[0].strip()


def _ratio(median: str, goal: str) -> str:
    number, _, unit = median.partition(" ")
    if unit != "x":
        return f"{median}"
    faster = goal.startswith("at least") or "more" in goal
    return f"{number} times as {'fast' if faster else 'long'}"


def _notice(repository: str, *, deleted: Sequence[str], failed: Sequence[tuple[str, str, str]]) -> str:
    """Returns the e-mail about a request for these tags; a malformed one has no code here, but its own."""
    sys.path.insert(0, str(ROOT / "src"))
    from handler import notifications  # noqa: PLC0415  # on the path since the line before
    from handler.models.images import ImageFailure, ImageId  # noqa: PLC0415
    from handler.models.report import DeletionReport  # noqa: PLC0415
    from handler.models.request import DeletionRequest, Origin  # noqa: PLC0415

    ids = [ImageId(tag=tag) for tag in [*deleted, *(tag for tag, _, _ in failed)]]
    failures = [
        ImageId(tag=tag).malformed() or ImageFailure(ImageId(tag=tag), code, reason) for tag, code, reason in failed
    ]
    request = DeletionRequest(
        key=("request", "close-pr-417"),
        request_id="close-pr-417",
        repository_name=repository,
        image_ids=tuple(ids),
        origin=Origin("message", "059f36b4-87a3-44ab-83d2-661975830a7d", QUEUE, "AROAEXAMPLE:ci"),
        content_hash="",
        reason="pull request closed",
    )
    report = DeletionReport(request, image_ids=tuple(ids[: len(deleted)]), failures=tuple(failures))
    notice = notifications.report_notice(report, EXAMPLE["AWS::AccountId"])
    return f"```\nSubject: {notice.subject}\n\n{json.loads(notice.message)['email'].strip()}\n```"


if __name__ == "__main__":
    for document in BLOCKS:
        (ROOT / document).write_text(filled(document))
