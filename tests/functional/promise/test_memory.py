"""Finished steps are remembered longer than any message that could repeat them is kept."""

import pytest

from tests.harness.outside import DAY, Outside
from tests.harness.server_faults import server_error

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("days", [(13, 15), (20, 40)])
def test_a_dead_letter_that_is_redriven_twice_deletes_once(stack: Outside, days: tuple[int, int]) -> None:
    """A redrive gives it another 14 days: what is replayed is remembered from then on, not from the first time."""
    function = stack.start()
    stack.push("latest")
    stack.send("imageTag=latest", "imageTag=gone", requestId="once")
    silent = stack.faults.add("Publish", server_error)
    stack.drain(function)
    assert (len(stack.dead_letters()), stack.left(), stack.notices()) == (1, set(), [])
    again = stack.push("latest", days=0)

    before = 0
    for day in days:
        stack.let_time_pass((day - before) * DAY)
        before = day
        if day == days[-1]:
            silent.lift()
        stack.redrive()
        stack.drain(function)

    assert stack.left() == {again}
    [notice] = stack.notices()
    assert [notice.data[key] for key in ("deleted", "failed")] == [1, 1]
    assert stack.waiting() == stack.dead_letters() == []
