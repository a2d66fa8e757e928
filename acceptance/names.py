"""What a run calls the things that it makes, and the tag by which they are found again."""

import re
import secrets
from dataclasses import dataclass, field

TAG = "ecr-image-deletion-acceptance"
"""The key of the tag that everything has which a run makes; its value is `<stack>/<run>`."""
MARK = "ecr-acceptance-"
"""How the names begin of all that is no repository."""
ROLE_PATH = "/ecr-acceptance/"
"""The path of the roles that a run makes."""

_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Run:
    """One run on a stack. Two at once differ by their ids, in every name and in the tag."""

    stack: str
    prefix: str
    id: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def tag_value(self) -> str:
        """The value of the tag."""
        return f"{self.stack}/{self.id}"

    @property
    def tags(self) -> dict[str, str]:
        """The tag, for services that take a mapping."""
        return {TAG: self.tag_value}

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The tag, for services that take a list."""
        return [{"Key": TAG, "Value": self.tag_value}]

    def repository(self, name: str) -> str:
        """Returns the full name of a repository."""
        return f"{self.prefix}{self.id}/{name}"

    def name(self, what: str) -> str:
        """Returns the name of anything else."""
        return f"{MARK}{self.id}-{what}"

    def request_id(self, name: str) -> str:
        """Returns the key of a request."""
        return f"{self.id}/{name}"


def run_of(tag_value: str, stack: str) -> str:
    """Returns the id of the run of this stack that a tag names; empty if it names none."""
    of_stack, _, run = tag_value.rpartition("/")
    return run if of_stack == stack and _ID.fullmatch(run) else ""


def run_in(name: str) -> str:
    """Returns the id of the run in a name that `Run.name` gave, empty if there is none."""
    run = name.removeprefix(MARK).split("-")[0]
    return run if name.startswith(MARK) and _ID.fullmatch(run) else ""
