"""What a run calls things, and how they are found again."""

from acceptance.names import MARK, Run, run_in, run_of


def test_two_runs_have_no_name_in_common() -> None:
    """Not even in the same second."""
    one, other = (Run("stack", "acceptance/") for _ in range(2))
    assert one.id != other.id
    for name in (one.repository("a"), one.name("a"), one.request_id("a"), one.tag_value):
        assert one.id in name
        assert other.id not in name


def test_the_tag_leads_back_to_the_run() -> None:
    """Of this stack; the tag of another stack, or another tag, to none."""
    run = Run("stack", "acceptance/")
    assert run.tag_list == [{"Key": key, "Value": value} for key, value in run.tags.items()]
    assert run_of(run.tag_value, "stack") == run.id
    assert run_of(run.tag_value, "another-stack") == ""
    assert run_of("", "stack") == run_of("stack/", "stack") == run_of("stack/not-an-id", "stack") == ""


def test_a_name_leads_back_to_the_run() -> None:
    """Where there can be no tag: a subscription is known by its queue."""
    run = Run("stack", "acceptance/")
    assert run_in(run.name("notices")) == run.id
    assert run_in("notices") == run_in(f"{MARK}of-somebody") == ""
