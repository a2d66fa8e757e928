"""A notice as a chat channel shows it: in the shape that AWS documents, and with senders' words as code."""

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler import events
from handler.models.images import ImageFailure, ImageId
from handler.models.limits import MESSAGE_BYTES
from handler.models.report import DeletionReport
from handler.models.request import Origin
from handler.models.summary import Entry, SummaryOutcome, SummaryReport
from handler.notifications import Notice, rejection_notice, report_notice
from handler.notifications.summary import summary_notice
from local.runtime import FakeLambdaContext
from tests.custom_notification import CUSTOM_NOTIFICATION
from tests.fakes.lambda_ import BULK_QUEUE_ARN, BULK_QUEUE_URL, sqs_record
from tests.reports import MARK, ORIGINS, WORDS, reports, summaries
from tests.values import ACCOUNT, ORIGIN, deletion_report, deletion_request, failure


def chat(notice: Notice) -> Any:
    """Returns what a channel gets of a notice, which is within SNS's limit; checked."""
    assert notice.size <= MESSAGE_BYTES
    message = json.loads(json.loads(notice.message)["https"])
    CUSTOM_NOTIFICATION.validate(message)
    return message


def of_report(report: DeletionReport) -> Any:
    """Returns what a channel gets of a report."""
    return chat(report_notice(report, ACCOUNT, chat=True))


def lines(message: Any) -> list[str]:
    """Returns all lines that a channel shows, but for its own words about the message."""
    content = message["content"]
    texts = (content["title"], content["description"], *content["nextSteps"], message["metadata"]["summary"])
    return [line for text in texts for line in text.split("\n")]


def outside(line: str) -> str:
    """Returns what of a line is not code."""
    assert line.count("`") % 2 == 0, line
    return re.sub("`[^`]+`", "", line)


def check_code(message: Any) -> None:
    """Checks that senders' words stand in code alone, and that nothing there means anything to a channel."""
    for line in lines(message):
        assert line.isprintable(), line
        assert MARK not in outside(line), line
        assert not set("<>") & set(line), line


@given(reports())
@settings(max_examples=40)
def test_the_words_of_a_report_never_leave_their_code(report: DeletionReport) -> None:
    """Whatever a sender wrote, and of whatever kind the request was."""
    notice = report_notice(report, ACCOUNT, chat=True)
    message = chat(notice)
    check_code(message)
    data = json.loads(json.loads(notice.message)["default"])
    assert message["metadata"]["eventType"] == data["type"] == message["content"]["keywords"][0]
    assert message["metadata"]["threadId"] == report.request.part_of
    assert message["metadata"]["additionalContext"] == {"requestId": report.request.request_id}


@given(summaries())
@settings(max_examples=25)
def test_the_words_of_a_summary_never_leave_their_code(report: SummaryReport) -> None:
    """Errors too, which quote them; it stands in the thread of its parts."""
    message = chat(summary_notice(report, ACCOUNT, chat=True))
    check_code(message)
    assert message["metadata"]["threadId"] == "nightly"


@example("no", ORIGIN, {"requestId": "r-1", "repositoryName": "team/app", "reason": MARK})
@given(
    WORDS,
    ORIGINS,
    st.none() | WORDS | st.dictionaries(st.sampled_from(["requestId", "repositoryName", "reason"]), WORDS | st.none()),
)
@settings(max_examples=40)
def test_the_words_of_a_rejected_request_never_leave_their_code(error: str, origin: Origin, content: Any) -> None:
    """Nothing of it was checked: its repository is no name of one, and so no keyword."""
    message = chat(rejection_notice(error, origin, content, chat=True))
    check_code(message)
    assert message["content"]["keywords"] == ["rejection"]


FORGED = "x\n\u2022 `prod`: deleted, says <!channel> " + MARK


def test_a_forged_follow_up_writes_no_line() -> None:
    """Whoever may send to the bulk queue may write anything into an envelope."""
    envelope = {"key": ["message", "m-1"], "requestId": "r-1", "turn": 0, "generation": None}
    forged = {"followUp": envelope | {"origin": ORIGIN.to_json() | {"kind": FORGED}}, "request": {}}
    record = sqs_record("m-1", json.dumps(forged), queue=BULK_QUEUE_ARN)
    context: Any = FakeLambdaContext()
    [arrival] = events.arrivals({"Records": [record]}, context, BULK_QUEUE_URL)
    payload = arrival.read()
    check_code(chat(rejection_notice("no", payload.origin, payload.named_content, chat=True)))


LONG = "\U0001f433" * 250
HUGE = {
    "many": deletion_report(*(failure(f"{n:0128}") for n in range(1_500)), deleted=1_000, notify="always"),
    "long words": deletion_report(
        *(failure(LONG, "C" * 64, LONG * 4) for _ in range(400)),
        reason=LONG,
        request_id=LONG,
        repository_name="a" * 256,
    ),
    "quotes": deletion_report(*(failure('"\\' * 150, "C" * 64, '"\\' * 250) for _ in range(400))),
}


@pytest.mark.parametrize("report", HUGE.values(), ids=HUGE)
def test_a_channel_is_shown_the_first_failures(report: DeletionReport) -> None:
    """Ten of them, within what a channel takes; and where the others are."""
    message = of_report(report)
    check_code(message)
    shown = message["content"]["description"].split("\n")
    assert len([line for line in shown if line.startswith("\u2022 ")]) == 10
    assert shown[-1] == "and more: the e-mail and the JSON form of this notice have them."


def test_the_words_that_a_channel_is_shown_are_cut() -> None:
    """With a sign that they are; ten entries and a request fill no screen."""
    message = of_report(deletion_report(failure("t" * 300, reason="r" * 300), request_id="i" * 250, reason="w" * 250))
    spans = re.findall("`([^`]+)`", message["content"]["description"])
    assert max(map(len, spans)) == 200
    assert {span[-1] for span in spans if len(span) == 200} == {"\u2026"}


ESCAPED = deletion_report(*(failure(f"{n}" + "\U000e0001" * 199) for n in range(10)))
"""Each character of its tags is shown as ten."""


def test_words_that_are_escaped_take_no_more_room() -> None:
    """A channel shows nothing of a message that is too long."""
    assert len(of_report(ESCAPED)["content"]["description"]) <= 8_000


def test_what_is_empty_is_code_too() -> None:
    """Two backticks without anything between them would begin something else."""
    message = of_report(deletion_report(failure(reason="")))
    assert message["content"]["description"].split("\n")[-1] == "\u2022 `imageTag=precise`: ImageNotFound: ` `"


def test_words_that_are_escaped_stay_in_their_code() -> None:
    """Also where a message is cut to what a channel takes."""
    check_code(of_report(ESCAPED))


def test_a_channel_is_told_what_to_do_next() -> None:
    """With the request that tries again, to be copied; without anything to do, nothing."""
    steps = of_report(deletion_report(failure("busy", "UpstreamUnavailable"), reason="closed"))["content"]["nextSteps"]
    assert len(steps) == 2
    assert steps[0].startswith("To do: try again later")
    [request] = re.findall("^Send this request: `([^`]+)`$", steps[1])
    assert json.loads(request) == {
        "repositoryName": "team/app",
        "reason": "closed",
        "imageIds": [{"imageTag": "busy"}],
    }
    assert of_report(deletion_report(deleted=1, notify="always"))["content"]["nextSteps"] == []
    assert len(of_report(deletion_report(failure()))["content"]["nextSteps"]) == 1


def test_a_request_that_is_too_long_to_copy_is_not_shown() -> None:
    """Half of one could be sent, and would ask for something else."""
    many = deletion_report(*(failure(f"busy-{n}", "UpstreamUnavailable") for n in range(100)))
    assert len(of_report(many)["content"]["nextSteps"]) == 1


@pytest.mark.parametrize("reason", ["see `#417`", "see <https://example.com>"])
def test_a_request_that_is_copied_is_the_one_that_was_meant(reason: str) -> None:
    """JSON can spell each character so that it means nothing to a channel."""
    steps = of_report(deletion_report(failure("busy", "UpstreamUnavailable"), reason=reason))["content"]["nextSteps"]
    [request] = re.findall("`([^`]+)`$", steps[1])
    assert json.loads(request)["reason"] == reason


def test_the_parts_of_a_request_stand_in_its_thread() -> None:
    """The turns of a selection, and what a fan-out led to; and each still says which it is."""
    child = ("child", ["request", "nightly"], "team/app", "claim-1")
    for changes in (
        {"key": child, "request_id": "nightly/team/app"},
        {"key": child, "request_id": "nightly/team/app#2", "turn": 2},
        {"key": ("request", "nightly"), "request_id": "nightly#1", "turn": 1},
        {"key": ("request", "nightly"), "request_id": "nightly"},
    ):
        metadata = of_report(deletion_report(failure(), **changes))["metadata"]
        assert (metadata["threadId"], metadata["additionalContext"]["requestId"]) == ("nightly", changes["request_id"])


def test_keywords_are_what_a_channel_filters_by() -> None:
    """The kind, the repository, and each failure code once."""
    report = deletion_report(failure("a", "KmsError"), failure("b", "ImageNotFound"), failure("c", "KmsError"))
    assert of_report(report)["content"]["keywords"] == ["failure", "team/app", "ImageNotFound", "KmsError"]
    codes = [f"Code{number:02}" for number in range(20)]
    many = deletion_report(*(failure(code, code) for code in codes))
    assert of_report(many)["content"]["keywords"] == ["failure", "team/app", *codes[:10]]


def test_a_channel_is_shown_every_kind_of_entry() -> None:
    """Of a report what failed; of a summary what was rejected, what has not ended, and what failed, by code."""
    nobody = ImageFailure(ImageId(), "AccessDeniedException", "no")
    shown = of_report(deletion_report(failure("v1"))._replace(failures=(failure("v1"), nobody)))
    assert shown["content"]["description"].split("\n")[-2:] == [
        "\u2022 `imageTag=v1`: ImageNotFound: `Requested image not found`",
        "\u2022 `(the whole request)`: AccessDeniedException: `no`",
    ]
    request = deletion_request(repository_name="", payload={"repositoryNames": ["team/*", "web"]}, reason="nightly")
    written = {"a": [Entry.rejected("bad", "m-1")], "b": [], "c": [Entry(failed=3, codes={"KmsError": 3})]}
    outcome = SummaryOutcome.of(request, written, ["b"])
    message = chat(summary_notice(SummaryReport(request, outcome), ACCOUNT, chat=True))
    assert message["content"]["description"].split("\n")[2:] == [
        "*Requested:* `team/*`, `web`",
        "*Request:* `cleanup-1`",
        "*Sent by:* `not known`, message `message-1`",
        "*Reason:* `nightly`",
        "",
        "\u2022 `a`: rejected: `bad`",
        "\u2022 `b`: not finished",
        "\u2022 `c`: 3 KmsError",
    ]


def test_without_chat_there_is_no_form_for_channels() -> None:
    """Subscribers by HTTPS get what every other protocol gets."""
    for notice in (report_notice(deletion_report(failure()), ACCOUNT), rejection_notice("no", ORIGIN, None)):
        assert json.loads(notice.message).keys() == {"default", "email"}
