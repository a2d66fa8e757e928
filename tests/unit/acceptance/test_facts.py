"""FACTS.md: what was asked is answered in it, what was not stays as it was, and nobody is named."""

import json
from pathlib import Path

from botocore.exceptions import ClientError

from acceptance import facts, questions_asked
from acceptance.facts import Fact

COMMITTED = Path(facts.__file__).with_name("FACTS.md")


def test_the_committed_file_has_every_question() -> None:
    """In order; each is answered or open, and it says when it was last run."""
    text = COMMITTED.read_text()
    assert facts.merge(text, questions_asked.QUESTIONS, facts.last_run(text), {}) == text
    assert text.count("\n## ") == len(questions_asked.QUESTIONS) == len(set(questions_asked.QUESTIONS))
    assert all(question.endswith("?") for question in questions_asked.QUESTIONS)


def test_an_answer_replaces_the_one_before() -> None:
    """And leaves those of other questions alone."""
    before = facts.render(facts.NOT_RUN, {"One?": facts.OPEN, "Two?": facts.OPEN, "Gone?": facts.OPEN})
    first = Fact(["a call"], ["an answer"]).rendered("2026-01-01", "eu-west-1")
    second = Fact(["a call", "another | call"], ["1", "2"]).rendered("2026-02-02", "us-east-1")

    once = facts.merge(before, ["One?", "Two?", "New?"], "one", {"One?": first, "Two?": first})
    twice = facts.merge(once, ["One?", "Two?", "New?"], "two", {"Two?": second})

    assert facts.last_run(before) == facts.NOT_RUN
    assert facts.last_run(twice) == "two"
    assert "Gone?" not in twice
    assert f"## One?\n\n{first}\n## Two?\n\n{second}\n## New?\n\n{facts.OPEN}" in twice
    assert "| another \\| call | 2 |" in twice
    assert facts.merge(twice, ["One?", "Two?", "New?"], "two", {}) == twice


def test_an_error_is_an_answer() -> None:
    """With its code and its words; of a response, what the question has said is left out."""

    def refused() -> None:
        raise ClientError({"Error": {"Code": "TooFast", "Message": "slow down"}}, "Call")

    assert facts.answer(refused) == "TooFast: slow down"
    response = {"ResponseMetadata": {}, "imageIds": [{"imageTag": "a", "registryId": "1"}]}
    assert json.loads(facts.answer(lambda: response)) == {"imageIds": [{"imageTag": "a"}]}


def test_facts_can_be_sent_to_others() -> None:
    """Without the account, and with digests cut short."""
    text = facts.anonymous(f"arn:aws:ecr:eu-west-1:123456789012:repository/a@sha256:{'ab' * 32}", "123456789012")
    assert text == "arn:aws:ecr:eu-west-1:<account>:repository/a@sha256:abababab…"


def test_durations() -> None:
    """A row for each kind of call, with its median and what nine of ten took at most."""
    fact = facts.durations({"PutImage": [0.1] * 9 + [0.5], "BatchGetImage": [0.05]})
    assert list(fact.sent) == ["1 x BatchGetImage", "10 x PutImage"]
    assert fact.came[1] == "median 100 ms, 9 of 10 within 500 ms"
