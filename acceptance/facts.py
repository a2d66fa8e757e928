"""The answers that a run gets, and FACTS.md, in which they are kept from run to run."""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

NOT_RUN = "**Not yet on AWS.**"
"""What FACTS.md says of the last run until there is one."""
OPEN = "Open: nobody has asked AWS yet.\n"
_HEAD = """# What AWS answered

<!-- Written by `make acceptance`. An answer stays until a later run replaces it. -->

Last run: {last}

The run asks AWS what its documents leave open, and writes down what comes; the guide says [how to read
this](../docs/acceptance.md#read-the-answers). Digests are cut short, and the account is left out.
"""
_LEFT_OUT = {
    "ResponseMetadata", "registryId", "repositoryName", "imageManifest", "imageManifestMediaType", "artifactMediaType",
}  # fmt: skip
_LAST = re.compile(r"^Last run: (.*)$", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n\n((?:.*\n)*?)(?=^## |\Z)", re.MULTILINE)
_DIGEST = re.compile(r"(sha256[:-][0-9a-fA-F]{8})[0-9a-fA-F]{56}")


@dataclass(frozen=True, slots=True)
class Fact:
    """An answer to one question."""

    sent: Sequence[str]
    """The calls that were made, in words."""
    came: Sequence[str]
    """What each of them led to."""

    def rendered(self, when: str, where: str) -> str:
        """Returns it as a section of FACTS.md, without its heading."""
        rows = [f"| {_cell(sent)} | {_cell(came)} |" for sent, came in zip(self.sent, self.came, strict=True)]
        return "\n".join([f"Asked {when} in {where}.", "", "| sent | what came |", "|---|---|", *rows, ""])


def render(last: str, sections: Mapping[str, str]) -> str:
    """Returns FACTS.md: the questions in order, each with its answer, or open."""
    bodies = [f"## {question}\n\n{body}" for question, body in sections.items()]
    return "\n".join([_HEAD.format(last=last), *bodies])


def merge(before: str, questions: Sequence[str], last: str, answers: Mapping[str, str]) -> str:
    """Returns FACTS.md after a run: what it has asked is replaced, everything else stays."""
    known = dict(_SECTION.findall(before))
    known = {question: body.rstrip("\n") + "\n" for question, body in known.items()}
    return render(last, {question: answers.get(question, known.get(question, OPEN)) for question in questions})


def last_run(text: str) -> str:
    """Returns what FACTS.md says of the last run."""
    found = _LAST.search(text)
    return found[1] if found else NOT_RUN


def answer(call: Callable[[], Any]) -> str:
    """Makes a call, and returns what came: the response, or the error that the service answered with."""
    try:
        response = call()
    except ClientError as error:
        return f"{error.response['Error']['Code']}: {error.response['Error'].get('Message', '')}"
    return json.dumps(_brief(response), default=str)


def anonymous(text: str, account: str) -> str:
    """Returns a text without the account and with short digests, to be sent to others."""
    return _DIGEST.sub(r"\1…", text.replace(account, "<account>"))


def durations(calls: Mapping[str, Sequence[float]]) -> Fact:
    """Returns how long each kind of call took."""
    sent, came = [], []
    for name, seconds in sorted(calls.items()):
        ordered = sorted(value * 1000 for value in seconds)
        late = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
        sent.append(f"{len(ordered)} x {name}")
        came.append(f"median {statistics.median(ordered):.0f} ms, 9 of 10 within {late:.0f} ms")
    return Fact(sent, came)


def _brief(value: Any) -> Any:
    """A response without what the question has said already."""
    match value:
        case dict():
            return {name: _brief(member) for name, member in value.items() if name not in _LEFT_OUT}
        case list():
            return [_brief(member) for member in value]
    return value


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
