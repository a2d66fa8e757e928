"""Checks and questions that imitations of AWS cannot serve, and why. On AWS, all of them are asked."""

from .safety import matches

_NO_EMF = "metrics are lines of the function's log, which nobody here turns into metrics"
_NO_ALARMS = "alarms never ring here"
_ONE_TAG = "an image is deleted with all its tags, and one of them is answered"
_NO_RELATIVES = "signatures are not listed, and an index does not keep what it names"
_NO_ARCHIVE = "there is no archive"
_NOT_FOUND = "DescribeImages leaves out an image that is not there, where ECR fails"
_NO_DOCKER = "a function of one's own would need Docker here"

NOT_SERVED: dict[str, dict[str, str]] = {
    "embedded": {
        "test_metrics.py": _NO_EMF,
        "test_alarms.py": _NO_ALARMS,
        "test_loops.py": _NO_DOCKER,
    },
    "ministack": {
        "test_alarms.py": "a letter is not counted by a metric",
        "test_answers.py::*one of several tags*": _ONE_TAG,
        "test_answers.py::*all tags of an image*": _ONE_TAG,
        "test_answers.py::*a tag with another digest*": "a tag with another digest is deleted",
        "test_answers.py::*a digest that is not there*": _NOT_FOUND,
        "test_dead_letters.py": "dead letters cannot be sent back",
        "test_guards.py::test_a_protected_tag": _ONE_TAG,
        "test_metrics.py": _NO_EMF,
        "test_redrive.py": "dead letters cannot be sent back",
        "test_requests.py::*[untagged]": _ONE_TAG,
        "test_requests.py::*[cascaded]": _NO_RELATIVES,
        "test_requests.py::test_a_nested_index_goes_whole": _NO_RELATIVES,
        "test_undo.py": _NO_ARCHIVE,
        "test_ways.py::*-untagged]": _ONE_TAG,
        "test_ways.py::*-cascaded]": _NO_RELATIVES,
        "test_ways.py::*-archived]": _NO_ARCHIVE,
    },
}
"""For each imitation the names of files, or of checks in them, in which `*` is anything; and the reason."""


def not_served(imitation: str, check: str) -> str:
    """Returns why an imitation does not serve a check, such as `test_ways.py::test_it_arrives[queue]`."""
    for name, reason in NOT_SERVED.get(imitation, {}).items():
        if any(matches(check, pattern) for pattern in (name, f"{name}::*", f"{name}[*")):
            return reason
    return ""
