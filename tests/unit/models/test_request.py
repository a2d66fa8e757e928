"""A request as the layers hand it on."""

import pytest

from handler.models.request import Arrival, Origin, quoted
from tests.values import ORIGIN, deletion_request, payload


@pytest.mark.parametrize(
    ("switches", "effect"),
    [
        ({}, "delete"),
        ({"untag": True}, "untag"),
        ({"cascade": True}, "delete"),
        ({"dry_run": True, "untag": True}, "simulate"),
    ],
)
def test_the_effect_of_a_request(switches: dict[str, bool], effect: str) -> None:
    """A dry run of any kind only foresees."""
    assert deletion_request(**switches).effect == effect


def test_the_switches_are_written_as_a_request_writes_them() -> None:
    """Those that are set, for the log and for a request that tries again; cascade also where it is false."""
    every = deletion_request(dry_run=True, notify="always", untag=True, cascade=False)
    assert every.switches == {"dryRun": True, "notify": "always", "untag": True, "cascade": False}
    assert deletion_request().switches == {}


def test_a_part_of_a_fan_out_does_not_ask_for_a_summary() -> None:
    """Only the request for all of them does: one that tries a part again tells by itself."""
    assert deletion_request(notify="summary", repository_names=("a",)).switches == {"notify": "summary"}
    assert deletion_request(notify="summary").switches == {}


@pytest.mark.parametrize(
    ("key", "part_of"),
    [
        (("request", "nightly"), "nightly"),
        (("child", ("request", "nightly"), "team/app", "claim-1"), "nightly"),
        (("child", ["message", "m-1"], "team/app", "claim-1"), "m-1"),
        (("child", "anything", "team/app"), "nightly"),
    ],
)
def test_a_request_says_what_it_is_a_part_of(key: tuple[object, ...], part_of: str) -> None:
    """The request that people sent; of a key that nobody here has made, itself."""
    request = deletion_request(key=key, request_id="nightly#2", turn=2)
    assert request.part_of == part_of


def test_an_origin_is_written_for_machines_and_for_people() -> None:
    """How the request arrived, under which id, and from where."""
    origin = Origin("event", "e-1", "team.cleaner")
    assert origin.to_json() == {"kind": "event", "id": "e-1", "source": "team.cleaner", "sender": None}
    assert str(origin) == "event e-1 from team.cleaner"


def test_an_arrival_has_the_key_of_its_origin() -> None:
    """Under it its rejection is stored, before anything of it is read."""
    assert Arrival(ORIGIN, received_before=False, read=lambda: payload({})).key == (ORIGIN.kind, ORIGIN.id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a" * 501, "a" * 500), ("é🐳", "é🐳"), ("a\ud800b", "a\\ud800b"), ("\ud800" * 501, "\\ud800" * 500)],
)
def test_what_a_sender_wrote_is_quoted_in_bounds(text: str, expected: str) -> None:
    """500 characters at most, and nothing that UTF-8 cannot hold."""
    assert quoted(text) == expected
