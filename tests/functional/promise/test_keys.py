"""Keys that differ never meet: whatever characters a requestId holds, and whatever belongs to a request."""

from tests.harness.outside import ANY_SHARE, PREVIEWS, Outside

CONTENT = "the same in two repositories"


def test_a_request_id_may_look_like_a_part_of_another_request(stack: Outside) -> None:
    """X/relatives/0 and a cascade with the requestId X do not meet."""
    stack.push("a")
    stack.push_index([stack.push(), stack.push()], "1.0")
    function = stack.start()
    stack.send("imageTag=a", requestId="X/relatives/0")
    stack.send("imageTag=1.0", requestId="X", cascade=True)

    stack.drain(function)

    assert stack.notices() == []
    assert stack.left() == set()
    assert stack.waiting() == stack.dead_letters() == []


def test_two_fan_outs_may_share_a_path(stack: Outside) -> None:
    """X for team/app and X/team for app are two requests about two repositories."""
    stack.create("app")
    stack.push("a")
    stack.push("b", repository="app")
    function = stack.start()
    stack.send_body({"repositoryNames": ["team/app"], "imageIds": ["imageTag=a"], "requestId": "X"})
    stack.send_body({"repositoryNames": ["app"], "imageIds": ["imageTag=b"], "requestId": "X/team"})

    stack.drain(function)

    assert stack.notices() == []
    assert stack.tags() == stack.tags("app") == set()
    assert stack.waiting() == stack.dead_letters() == []


def test_malformed_messages_with_the_same_event_id_are_all_reported(stack: Outside) -> None:
    """Each is an arrival of its own, with a notice of its own, also where the same is wrong with both."""
    event = {"version": "0", "id": "the-same", "detail-type": "ECR Image Deletion Request", "source": "ci"}
    malformed: list[object] = [[], [], "a"]
    function = stack.start()
    for image_ids in malformed:
        stack.send_body(event | {"detail": {"repositoryName": "team/app", "imageIds": image_ids}})
        stack.drain(function)

    assert [notice.data["type"] for notice in stack.notices()] == ["rejection"] * 3
    assert len({notice.data["error"] for notice in stack.notices()}) == 2
    assert len(stack.dead_letters()) == 3


def test_a_selection_does_not_delete_the_relatives_of_another_one(stack: Outside) -> None:
    """X and X# are two requests: an untagged image with the digest of what belonged to an index of X stays."""
    stack.create("team/web")
    child = stack.push(content=CONTENT)
    stack.push_index([child], "pr-1")
    stray = stack.push(repository="team/web", content=CONTENT)
    assert stray == child
    stack.push("pr-2", repository="team/web")
    function = stack.start(**ANY_SHARE)

    stack.send(selection=PREVIEWS, requestId="X")
    stack.drain(function)
    stack.send_body({"repositoryName": "team/web", "selection": PREVIEWS, "requestId": "X#"})
    stack.drain(function)

    assert stack.left() == set()
    assert stack.left("team/web") == {stray}
    assert stack.notices() == []


def test_a_selection_is_not_confused_by_what_its_repository_had_before(stack: Outside) -> None:
    """An untagged image that is pushed again after X has deleted it is not selected by X#, which selects tags."""
    stack.push_index([stack.push(content=CONTENT)], "pr-1")
    function = stack.start(**ANY_SHARE)
    stack.send(selection=PREVIEWS, requestId="X")
    stack.drain(function)
    assert stack.left() == set()
    again = stack.push(content=CONTENT)
    stack.push("old-1")

    stack.send(selection={"tagStatus": "tagged", "tagPatternList": ["old-*"]}, requestId="X#")
    stack.drain(function)

    assert stack.left() == {again}
    assert stack.notices() == []
