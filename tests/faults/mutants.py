"""Ways to break the code, each small and each breaking a promise: the suites must catch every one of them.

A suite that shares the code's beliefs stays green whatever the code does. These are tried on a copy of the project.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.harness.matrix import Result

ROOT = Path(__file__).parents[2]

_SECONDS = 300
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".aws-sam", ".local", ".*cache", ".hypothesis")
_FAILED = re.compile(r"^FAILED ", re.MULTILINE)


class Mutant(NamedTuple):
    """A change that breaks a promise, and the tests that must notice."""

    promise: str
    """The promise that does not hold any more."""
    file: str
    """In src/handler."""
    before: str
    """Stands there once."""
    after: str
    tests: str
    """Files or folders in tests, separated by blanks."""

    def broken(self, source: str) -> str:
        """Returns the source with the change. Raises ValueError where it does not apply."""
        if source.count(self.before) != 1:
            raise ValueError(f"{self.file} has {source.count(self.before)} times: {self.before}")
        return source.replace(self.before, self.after)


MUTANTS = (
    Mutant(
        "A requestId belongs to one request",
        "step_table.py",
        'if item["content"]["S"] != self._content:',
        "if False:",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "A request that asks for other things under a used requestId is rejected before anything is done",
        "request_parser.py",
        "content_hash=_content_hash(content, image_ids)",
        "content_hash=str()",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "What was admitted is not rejected by a lower limit",
        "steps.py",
        'if stored is None or stored["state"]["S"] == "withdrawn":',
        "if True:",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "What was admitted is not rejected by the share that it has by now",
        "workflows/selection.py",
        "        if not replayed:\n            return None\n",
        "        if not replayed:\n            return None\n        if refusal := plan.over_limits(limits):\n"
        "            raise RejectedRequestError(refusal)\n",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "A stack that is switched to dry runs deletes nothing further",
        "guards.py",
        "if request.dry_run or not rules.dry_run:",
        "if True:",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "A request that was admitted as a dry run stays one",
        "workflows/process.py",
        "request = request._replace(dry_run=dry_run)",
        "pass",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "Different keys are different, whatever is in them",
        "request_queue.py",
        "key = Part(request.key, repository_name, mark_of(generation)).key",
        'key = ("request", f"{request.request_id}/{repository_name}")',
        "functional/promise/test_keys.py",
    ),
    Mutant(
        "Two messages with one event id are two rejections",
        "workflows/process.py",
        "                origin = payload.origin\n",
        "                origin = payload.origin\n                of_arrival = StepRunner(table, payload.key)\n",
        "functional/promise/test_keys.py",
    ),
    Mutant(
        "A claim knows nothing of the steps of one that has expired",
        "step_table.py",
        'if item["content"]["S"] == generation]',
        "]",
        "unit/test_step_table.py",
    ),
    Mutant(
        "A rejected message stays rejected",
        "workflows/process.py",
        "if arrival.received_before:",
        "if False:",
        "functional/promise/test_rejections.py",
    ),
    Mutant(
        "A rejection is reported once",
        "workflows/telling.py",
        "        _, error.replayed = rejections.reject(reason, Published, publish)\n",
        "        publish(rejections)\n",
        "functional/promise/test_rejections.py",
    ),
    Mutant(
        "A redelivery walks the relatives in the same order",
        "models/families.py",
        'digests = [*value["digests"], None]',
        'digests = [*sorted(value["digests"]), None]',
        "functional/promise/test_relatives.py",
    ),
    Mutant(
        "A redelivery asks for each relative, however many there are",
        "relatives.py",
        "pending += chunk[len(outcome.families) :]",
        "pending += ()",
        "unit/test_relatives.py functional/promise/test_relatives.py",
    ),
    Mutant(
        "What is gone lets others go, also where the answer was lost",
        "deletion.py",
        "return {*self._image_ids, *self._unconfirmed}",
        "return set() if self._unconfirmed else {*self._image_ids}",
        "functional/promise/test_lost_answers.py",
    ),
    Mutant(
        "A step begins no call that does not fit into the time left",
        "concurrency.py",
        "if self._remaining_seconds() - wait < 2 * self._slowest:",
        "if self._remaining_seconds() < 0:",
        "functional/promise/test_time.py",
    ),
    Mutant(
        "Relatives are searched in small steps",
        "relatives.py",
        "_FAMILIES_PER_STEP = 20\n",
        "_FAMILIES_PER_STEP = 2_000\n",
        "functional/promise/test_time.py",
    ),
    Mutant(
        "A protected repository keeps the relatives as well",
        "workflows/image_ids.py",
        "        if refused := guards.on_repository(rules, request, image_ids):\n            return refused\n",
        "",
        "functional/promise/test_relatives.py",
    ),
    Mutant(
        "A relative that stays anyway is no failure where nothing of its repository may go",
        "workflows/image_ids.py",
        "return stopped | kept",
        "return kept | stopped",
        "functional/promise/test_claims.py",
    ),
    Mutant(
        "ECR is asked nothing about a protected repository",
        "workflows/image_ids.py",
        "return guards.on_repository(self._rules, self._request, image_ids) or self._stopped(named)",
        "return self._stopped(named)",
        "functional/test_calls.py functional/test_guards.py",
    ),
    Mutant(
        "A write whose answer was lost erases no outcome of somebody else",
        "step_table.py",
        '"#owner = :owner AND #state = :begun"',
        '":owner = :owner AND :begun = :begun"',
        "functional/promise/test_lost_answers.py",
    ),
    Mutant(
        "An outcome is stored by whoever holds the step alone",
        "step_table.py",
        'self._table.update(self._key, _FINISH, "#owner = :owner", values)',
        'self._table.update(self._key, _FINISH, ":owner = :owner", values)',
        "unit/test_step_table.py",
    ),
    Mutant(
        "What is met again is remembered for the whole time again",
        "step_table.py",
        'if float(item["expiration"]["N"]) < expiration - _DAY:',
        "if False:",
        "functional/promise/test_memory.py",
    ),
    Mutant(
        "A signature by tag belongs to its image",
        "models/images.py",
        'return f"sha256:{match[1]}" if match else None',
        "return None if match else None",
        "functional/promise/test_signatures.py",
    ),
    Mutant(
        "A cascade takes the signatures by tag",
        "registry/families.py",
        "itertools.batched(subjects, CHUNK_SIZE",
        "itertools.batched(list(subjects)[:0], CHUNK_SIZE",
        "functional/promise/test_signatures.py",
    ),
    Mutant(
        "An image that was restored counts from then",
        "registry/listing.py",
        'activated=optional_seconds(detail.get("lastActivatedAt"))',
        "activated=None",
        "functional/promise/test_listing.py",
    ),
    Mutant(
        "Half a response to a look-up is no answer",
        "registry/errors.py",
        "    if not isinstance(value, list):\n",
        "    if value is None:\n        return []\n    if not isinstance(value, list):\n",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "An image that a response leaves out was not looked up",
        "registry/lookup.py",
        '            raise ServiceUnavailableError(f"ECR\'s response leaves out {image_id}")',
        "            pass",
        "unit/registry",
    ),
    Mutant(
        "Half an answer to a deletion is a lost answer",
        "registry/batch_delete.py",
        '    if not all(isinstance(response.get(name), list) for name in ("imageIds", "failures")):\n',
        "    if False:\n",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "An id that an answer leaves out is looked for, and asked for again",
        "registry/batch_delete.py",
        "self.pending = silent",
        "self.pending = []\n        self._gone += silent",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "A digest is not deleted because one of its tags is",
        "registry/batch_delete.py",
        "if image_id.tag is None or image_id.tag not in tags_asked}",
        "}",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "An image that is listed twice counts once",
        "registry/listing.py",
        "return Contents(list(listing.found.values()), listing.named)",
        "return Contents([*listing.found.values(), *listing.found.values()], listing.named)",
        "functional/promise/test_listing.py",
    ),
    Mutant(
        "What was found of many relatives fits the table",
        "registry/families.py",
        "        STORED_BYTES,\n",
        "        100 * STORED_BYTES,\n",
        "unit/registry/test_families.py",
    ),
    Mutant(
        "A manifest that cannot be read fails only what it belongs to",
        "relatives.py",
        "for i, own in self._digests.items() if own in ancestors}",
        "for i in self._asked}",
        "functional/promise/test_relatives.py",
    ),
    Mutant(
        "All images wait that are asked for again",
        "deletion.py",
        "max((2.0 ** (tries[i] - 1) for i in pending if i in tries), default=0.0)",
        "0.0",
        "functional/promise/test_report.py",
    ),
    Mutant(
        "An archived image stays",
        "selection/plan.py",
        'return None if image.status == "ACTIVE" else "Archived"',
        "return None",
        "functional/promise/test_listing.py",
    ),
    Mutant(
        "A retry is offered only where it can help",
        "notifications/data.py",
        'f["failureCode"] not in RETRY_IS_NO_HELP',
        'f["failureCode"]',
        "functional/promise/test_report.py",
    ),
    Mutant(
        "A placeholder that the scheduler did not fill is refused",
        "request_parser.py",
        "if request_id and _PLACEHOLDER in request_id:",
        "if False:",
        "functional/promise/test_rejections.py",
    ),
    Mutant(
        "A duplicate is counted once",
        "app.py",
        "            case FanOutReport(replayed=False):",
        "            case FanOutReport():",
        "unit/test_app.py functional/test_logs_and_metrics.py",
    ),
    Mutant(
        "What an earlier try deleted is no failure",
        "registry/batch_delete.py",
        'if self._in_doubt and failed.code == "ImageNotFound":',
        "if False:",
        "functional/promise/test_interrupted.py",
    ),
    Mutant(
        "A tag that was pushed since an earlier try is left alone",
        "registry/batch_delete.py",
        "image.pushed >= first_attempt_at - _CLOCK_SECONDS",
        "image.pushed >= first_attempt_at + 10**9",
        "functional/promise/test_interrupted.py",
    ),
    Mutant(
        "An id that no earlier try asked for stays a failure",
        "step_table.py",
        'if "begun" in item and not own else None',
        "if not own else now",
        "unit/test_step_table.py",
    ),
    Mutant(
        "A digest stays a failure of an untag that was interrupted",
        "registry/batch_delete.py",
        '[i for i in chunk.pending if effect != "untag" or i.tag]',
        "chunk.pending",
        "functional/promise/test_interrupted.py",
    ),
    Mutant(
        "A rejection says where it came from at whichever receive",
        "workflows/process.py",
        "                payload = arrival.read()\n",
        "                if arrival.received_before:\n                    of_arrival.raise_if_rejected()\n"
        "                payload = arrival.read()\n",
        "functional/promise/test_rejections.py",
    ),
    Mutant(
        "A fan-out does not end without a word",
        "workflows/fan_out.py",
        "if not names and not last and not self._of_grace:",
        "if not names and error_type is RejectedRequestError and not self._of_grace:",
        "functional/test_fan_out.py",
    ),
    Mutant(
        "A further turn of a real request does not become a silent dry run",
        "workflows/process.py",
        "            if not request.turn:",
        "            if True:",
        "functional/promise/test_turns.py",
    ),
    Mutant(
        "The limits hold for all turns of a request together",
        "workflows/selection.py",
        "return plan.over_limits(admitted, self.action, taken)",
        "return plan.over_limits(admitted, self.action)",
        "functional/promise/test_turns.py",
    ),
    Mutant(
        "What an archived index needs is not deleted by name",
        "workflows/image_ids.py",
        "        return {i: ImageFailure(i, codes[i], reason.format(index)) for i, index in needing.items()}",
        "        return {}",
        "functional/test_archived_needs.py",
    ),
    Mutant(
        "What an archived index in use names is in use",
        "workflows/archived_needs.py",
        'image.status != "ACTIVE" and image.digest in names:',
        "False:",
        "functional/test_archived_needs.py",
    ),
    Mutant(
        "An index that goes along needs nothing",
        "workflows/archived_needs.py",
        " and left.is_there(index)",
        "",
        "functional/test_archived_needs.py",
    ),
    Mutant(
        "A further turn is not rejected by a lower limit",
        "steps.py",
        "if over_limits and not request.turn:",
        "if over_limits:",
        "functional/promise/test_turns.py",
    ),
    Mutant(
        "Nobody gets around the limits by a message that claims to continue a request",
        "workflows/forwarding.py",
        'and request_queue.seal(sender["generation"]["S"], payload) == payload.seal',
        "",
        "functional/promise/test_turns.py functional/promise/test_envelopes.py",
    ),
    Mutant(
        "A message of the stack's own counts only as it was sent",
        "request_queue.py",
        "text = json.dumps((generation, envelope, payload.content), sort_keys=True)",
        "text = json.dumps((generation, envelope), sort_keys=True)",
        "functional/promise/test_envelopes.py",
    ),
    Mutant(
        "No message says what it is sealed with",
        "models/request.py",
        'return key_hash(("mark", generation))[:32]',
        "return generation",
        "functional/promise/test_envelopes.py",
    ),
    Mutant(
        "What was claimed comes back however late",
        "workflows/forwarding.py",
        'known = sender is not None and sender["content"]["S"] == request.content_hash',
        "known = False",
        "functional/promise/test_envelopes.py",
    ),
    Mutant(
        "What was answered is not forgotten because the last look failed",
        "registry/batch_delete.py",
        "            if not number:\n                raise\n",
        "            raise\n",
        "functional/promise/test_lost_answers.py unit/registry",
    ),
    Mutant(
        "A digest beside a tag says which image is meant",
        "registry/batch_delete.py",
        "elif image_id.tag is None or image_id.digest == image.digest:",
        "elif image_id.tag is None:",
        "functional/promise/test_lost_answers.py",
    ),
    Mutant(
        "An answer about a claim that did not arrive whole rejects nothing",
        "step_table.py",
        'if "ConsumedCapacity" not in answer:',
        "if False:",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "An error that did not arrive whole is not final",
        "registry/errors.py",
        'if code in {"", str(status)}:',
        "if False:",
        "functional/promise/test_incomplete_answers.py",
    ),
    Mutant(
        "A wait does not outlast the invocation",
        "concurrency.py",
        "            self.check(seconds)\n",
        "",
        "functional/promise/test_time.py",
    ),
    Mutant(
        "A step that may have had an effect is known to have begun",
        "step_table.py",
        "forget = nothing_done and self.first_attempt_at is None",
        "forget = True",
        "unit/test_step_table.py",
    ),
    Mutant(
        "botocore does not delete again after a lost response",
        "bootstrap.py",
        "        disable_unsafe_retries(self.ecr)\n",
        "",
        "functional/promise/test_once.py functional/promise/test_lost_answers.py",
    ),
    Mutant(
        "A tag in use protects the image that has it",
        "usage/closure.py",
        "    users |= {digest: tags[tag] for digest, own in tagged.items() for tag in own if tag in tags}\n",
        "",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A tag in use is enough for the guard to be asked",
        "usage/guard.py",
        "return not (self.unknown or self.digests or self.tags)",
        "return not (self.unknown or self.digests)",
        "functional/test_in_use.py",
    ),
    Mutant(
        "What a used index names is in use",
        "usage/guard.py",
        "self._digests = named_by(names, read) | self.digests",
        "self._digests = self.digests",
        "functional/test_in_use.py",
    ),
    Mutant(
        "An index that names an image in use is in use",
        "usage/closure.py",
        "edges[digest] += manifest.named",
        "edges[digest] += ()",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A signature is in use by its subject",
        "usage/closure.py",
        "[*filter(None, [image.subject, *map(signature_subject, image.tags)])]",
        "[*filter(None, map(signature_subject, image.tags))]",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A signature is in use by its tag",
        "usage/closure.py",
        "[*filter(None, [image.subject, *map(signature_subject, image.tags)])]",
        "[*filter(None, [image.subject])]",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A selection knows what is in use by its relatives",
        "usage/closure.py",
        "    _follow(users, _reversed([*_pairs(children), *_pairs(subjects)]))\n",
        "",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A selection keeps what is in use",
        "selection/plan.py",
        "elif image.digest in protection.in_use:",
        "elif False:",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A relative that is in use by itself stays",
        "workflows/image_ids.py",
        "others = [image_id for image_id in (*named, *relatives) if image_id not in refused]",
        "others = [image_id for image_id in named if image_id not in refused]",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A tag that is in use by its name is not removed",
        "guards.py",
        "if i.tag in use.tags}",
        "if i.tag is None}",
        "functional/test_in_use.py",
    ),
    Mutant(
        "The tag by which the signature of an image in use is found is not removed",
        "guards.py",
        "for i, subject in signed.items() if subject in found}",
        "for i, subject in signed.items() if subject.digest in use.digests}",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A tag in use protects the image that has it, whatever its name is",
        "usage/closure.py",
        'tags.get(i.tag or "")',
        "tags.get(str(i.tag))",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A dry run foresees what is in use",
        "guards.py",
        "if use is None or use.nothing or not image_ids:",
        "if use is None or use.nothing or not image_ids or request.dry_run:",
        "functional/test_in_use.py",
    ),
    Mutant(
        "Nothing is deleted while a source is not known",
        "usage/guard.py",
        'return "; ".join(silent) or None',
        "return None",
        "functional/test_in_use.py",
    ),
    Mutant(
        "No selection deletes anything while a source is not known",
        "workflows/selection.py",
        "or guards.on_unknown_use(self._execution.use, whole)\n",
        "",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A source that was read too long ago is not known",
        "usage/inventory.py",
        "and now < self.expires",
        "and now > self.expires",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A source that was read in the future is not believed",
        "usage/inventory.py",
        "return self.began > now + CLOCK_SECONDS",
        "return False",
        "functional/test_in_use.py",
    ),
    Mutant(
        "A source is believed once its last part was read",
        "usage/refresh.py",
        "            if last is None:\n",
        "            if True:\n",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "The age of a source counts from the beginning of its reading",
        "usage/refresh.py",
        "turn.source, began=turn.began, expires=turn.began + self.settings.max_age",
        "turn.source, began=time.time(), expires=time.time() + self.settings.max_age",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "A further turn goes on behind the last part that was read",
        "usage/refresh.py",
        "return turn.images + len(found), last\n",
        "return turn.images + len(found), unit.name\n",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "What is in use counts for InUseDays after it was last seen so",
        "usage/refresh.py",
        "expires = turn.began + self.settings.max_age + self.settings.in_use_seconds",
        "expires = turn.began + self.settings.max_age",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "What is in use counts as long as its source is believed",
        "usage/refresh.py",
        "expires = turn.began + self.settings.max_age + self.settings.in_use_seconds",
        "expires = turn.began + self.settings.in_use_seconds",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "Nothing that is remembered is shortened",
        "usage/inventory.py",
        'f"attribute_not_exists(#{growing}) OR #{growing} < :{growing}"',
        'f"attribute_not_exists(#{growing}) OR :{growing} = :{growing}"',
        "functional/test_declared_use.py unit/usage",
    ),
    Mutant(
        "A source that was read in the future once is known again once it is read",
        "usage/inventory.py",
        ' OR #{growing} > :limit"',
        ' OR (#{growing} > :limit AND #{growing} < :limit)"',
        "unit/usage/test_inventory.py",
    ),
    Mutant(
        "What was in use is forgotten in time",
        "usage/inventory.py",
        "(use := _stored(item)).expires > now]",
        "(use := _stored(item)).expires > 0]",
        "functional/test_in_use.py",
    ),
    Mutant(
        "An answer of the table that was cut short does not say that nothing is in use",
        "usage/inventory.py",
        """            if not isinstance(page.get("Items"), list):
                raise ServiceUnavailableError("DynamoDB's answer did not arrive whole")
            yield from page["Items"]
""",
        """            yield from page.get("Items", [])
""",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "An answer of a source that was cut short is no reading",
        "usage/reading.py",
        """    if name not in answer:
        raise ServiceUnavailableError(f"an answer without {name} did not arrive whole")
    return answer[name]
""",
        """    return answer.get(name, [])
""",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "A description that ECS leaves out is no reading",
        "usage/ecs.py",
        "if left_out := set(asked) - answered:",
        "if (left_out := set(asked) - answered) and not answered:",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "Half a declaration is none",
        "workflows/declaration.py",
        """    inventory.add(declared.source, declared.uses, seen=now, expires=expires, run_all=run_all)
""",
        """    inventory.believe(declared.source, began=min(now, payload.sent or now), expires=declared.expires)
    inventory.add(declared.source, declared.uses, seen=now, expires=expires, run_all=run_all)
""",
        "functional/test_declared_use.py",
    ),
    Mutant(
        "The newest declaration counts, and not the last that arrives",
        "workflows/declaration.py",
        "began=min(now, payload.sent or now)",
        "began=now",
        "functional/test_declared_use.py",
    ),
    Mutant(
        "An image in the archive is there",
        "registry/lookup.py",
        "wanted = [*manifests, *archived]",
        "wanted = [*manifests]",
        "functional/test_in_use.py",
    ),
    Mutant(
        "An index whose manifest cannot be read may name an image in use",
        "usage/closure.py",
        "            elif image.is_index:\n",
        "            elif not image.tags:\n",
        "functional/test_in_use.py",
    ),
    Mutant(
        "Who may only declare cannot delete",
        "events.py",
        "if kind == DECLARATION and not declares_use(detail):",
        "if kind == DECLARATION and detail is None:",
        "functional/test_declared_use.py",
    ),
    Mutant(
        "What was declared counts for InUseDays at least",
        "workflows/declaration.py",
        "expires = max(declared.expires, now + settings.in_use_days * _DAY)",
        "expires = declared.expires",
        "functional/test_declared_use.py",
    ),
    Mutant(
        "A service uses the digest that ECS has pinned, whatever its tag names by now",
        "usage/ecs.py",
        'images = [*revision.get("containerImages", ()), *containers(member(revision, "taskDefinition"))]',
        'images = containers(member(revision, "taskDefinition"))',
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "Every current revision of a service is in use",
        "usage/ecs.py",
        'for revision in service.get("currentServiceRevisions", ())',
        'for revision in service.get("currentServiceRevisions", ())[:1]',
        "unit/usage/test_ecs.py",
    ),
    Mutant(
        "A task that has not started yet uses its image",
        "usage/ecs.py",
        '        group, _, name = task.get("group", "").partition(":")\n',
        '        if task["lastStatus"] == "PENDING":\n            continue\n'
        '        group, _, name = task.get("group", "").partition(":")\n',
        "unit/usage/test_ecs.py",
    ),
    Mutant(
        "A running task uses the digest that it has pulled",
        "usage/ecs.py",
        'if digest := container.get("imageDigest"):',
        'if (digest := container.get("imageDigest")) and "taskArn" not in container:',
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "The newest revisions of a task definition are in use",
        "usage/ecs.py",
        '"sort": "DESC"}',
        '"sort": "ASC"}',
        "unit/usage/test_ecs.py",
    ),
    Mutant(
        "Every version of a function is in use",
        "usage/lambda_.py",
        ', page=_PAGE, FunctionVersion="ALL")',
        ", page=_PAGE)",
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "A function uses the digest that its tag had when it was updated",
        "usage/lambda_.py",
        'code.get("ResolvedImageUri") or member(code, "ImageUri")',
        'member(code, "ImageUri")',
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "What one task or pod uses is in use",
        "usage/inspector.py",
        '[{"lowerInclusive": 1}]',
        '[{"lowerInclusive": 2}]',
        "unit/usage functional/test_usage.py",
    ),
    Mutant(
        "What others archived is not deleted by a grace period",
        "archive_records.py",
        "return self.not_before - _CLOCK_SECONDS <= image.archived <= self.not_after + _CLOCK_SECONDS",
        "return True",
        "functional/test_grace_period.py faults/test_grace_period.py",
    ),
    Mutant(
        "A grace period deletes nothing younger than it says",
        "archive_records.py",
        "now <= (image.archived or 0.0) + (self.grace_days or 0) * _DAY",
        "now <= (image.archived or 0.0) + (self.grace_days or 0) * 0.9 * _DAY",
        "unit/test_archive_records.py",
    ),
    Mutant(
        "A promise outlives its parameter",
        "archive_records.py",
        'grace_days=int(item["graceDays"]["N"]) if "graceDays" in item else None',
        'grace_days=1 if "graceDays" in item else None',
        "functional/test_grace_period.py",
    ),
    Mutant(
        "What a request archived for good is not deleted",
        "archive_records.py",
        'update(self._key, digest, "REMOVE #graceDays", "attribute_exists(#graceDays)", {})',
        'update(self._key, digest, "REMOVE #other", "attribute_exists(#graceDays) AND attribute_exists(#other)", {})',
        "functional/test_grace_period.py",
    ),
    Mutant(
        "Whatever is killed, nothing is forgotten in the archive",
        "registry/storage_class.py",
        "            remember(image)\n            if image.status in statuses:\n                return image.status\n",
        "            if image.status in statuses:\n                return image.status\n",
        "functional/test_grace_period.py unit/registry/test_storage_class.py",
    ),
    Mutant(
        "A selection keeps what can still be brought back",
        "selection/plan.py",
        'return "InGracePeriod" if image.digest in protection.in_grace else None',
        "return None",
        "functional/test_grace_period.py",
    ),
    Mutant(
        "The daily request deletes only what a grace period has kept",
        "workflows/archive.py",
        "if (not ended or record.grace_ended(image, self._now))",
        "if True",
        "functional/test_grace_period.py",
    ),
    Mutant(
        "An undo is not undone the next night",
        "selection/plan.py",
        "elif (image.activated or 0.0) > protection.restored_since:",
        "elif False:",
        "functional/test_grace_period.py",
    ),
    Mutant(
        "A grace period is a dry run under DryRun, and asks its guards again",
        "workflows/process.py",
        "spared = selected and not selected.of_archive and execution",
        "spared = selected and execution",
        "functional/test_grace_period.py",
    ),
    Mutant(
        "The retry of a grace period deletes nothing at once",
        "notifications/data.py",
        "(whole or (image_ids and report.action != request.action))",
        "whole",
        "functional/test_grace_period.py",
    ),
    Mutant(
        "A duplicate of a request is answered with what was archived",
        "models/selection_outcome.py",
        'action=value.get("action", "delete"),',
        'action="delete",',
        "functional/test_grace_period.py unit/models/test_outcomes.py",
    ),
    Mutant(
        "By whichever tag, it is the image that is archived",
        "workflows/to_archive.py",
        "digests = {i: ImageId(image.digest) for i, image",
        "digests = {i: ImageId(tag=i.tag) if i.tag else ImageId(image.digest) for i, image",
        "functional/test_archive.py",
    ),
    Mutant(
        "What another index needs is not archived",
        "workflows/to_archive.py",
        "                more[digest].append(index)",
        "                pass",
        "functional/test_archive.py",
    ),
    Mutant(
        "Images are archived as wholes",
        "workflows/to_archive.py",
        "        self._find_relatives()\n",
        "",
        "functional/test_archive.py",
    ),
    Mutant(
        "What an index names can be pulled before it",
        "deletion.py",
        "waves = [*reversed(relatives.levels), named] if restoring",
        "waves = [named, *relatives.levels] if restoring",
        "unit/workflows/test_transition.py",
    ),
    Mutant(
        "An image whose turn did not come is asked for again",
        "deletion.py",
        "or failure.code in UNFINISHED",
        "or False",
        "functional/test_archive.py",
    ),
    Mutant(
        "What a step of a selection leaves is done in a further turn",
        "selection/engine.py",
        "if unfinished := [failure for failure in outcome.failures if failure.code in UNFINISHED]:",
        "if unfinished := []:",
        "functional/test_archive.py",
    ),
    Mutant(
        "No guard keeps an image in the archive",
        "workflows/from_archive.py",
        "return guards.on_dry_run(self._rules, self._request, image_ids)\n\n    def _work(",
        "return super()._refused(image_ids)\n\n    def _work(",
        "functional/test_archive.py",
    ),
    Mutant(
        "A stack must allow what costs money",
        "request_parser.py",
        'if request.action != "delete" and not allow_archive:',
        "if False:",
        "functional/test_archive.py",
    ),
    Mutant(
        "An archived index does not stop every selection",
        "selection/plan.py",
        "unread, blind = hidden - archived,",
        "unread, blind = hidden,",
        "unit/selection/test_other_plans.py",
    ),
    Mutant(
        "A tag that moves meanwhile stays",
        "workflows/untag.py",
        "ImageId(image.digest, image.tags[0]) for",
        "ImageId(None, image.tags[0]) for",
        "functional/test_untag_selections.py",
    ),
    Mutant(
        "The last tag of an image stays, of however many",
        "workflows/untag.py",
        "    width = 1  #",
        "    width = None  #",
        "unit/workflows/test_transition.py",
    ),
    Mutant(
        "What is not chosen costs no event",
        "workflows/telling.py",
        'return wanted == "all" or (wanted == "failures" and failed)',
        "return True",
        "functional/test_result_events.py",
    ),
    Mutant(
        "A failed entry is no success",
        "notifications/event_bus.py",
        '[entry] = answer.get("Entries") or [{}]',
        'entry = {"EventId": "taken"}',
        "functional/test_result_events.py",
    ),
    Mutant(
        "A result that arrives as a request makes no other result",
        "workflows/telling.py",
        "and not (payload and payload.is_result)",
        "and True",
        "functional/test_result_events.py",
    ),
    Mutant(
        "An event names what went",
        "notifications/result_events.py",
        "names_done=True",
        "names_done=False",
        "functional/test_result_events.py",
    ),
    Mutant(
        "An event that is sent again has the same key",
        "notifications/result_events.py",
        "key_hash([detail_type, *about])",
        "key_hash([detail_type, id(data)])",
        "functional/test_result_events.py",
    ),
    Mutant(
        "What becomes of a part is in the summary, or is reported by itself",
        "tally.py",
        'condition = "attribute_not_exists(#late)"',
        'condition = "attribute_not_exists(#never)"',
        "functional/test_summaries.py",
    ),
    Mutant(
        "A rejected request that is sent back is news",
        "workflows/summary.py",
        "return not has_ended(turns) or turns[max(turns)].error is not None",
        "return not has_ended(turns)",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A summary comes after a day in any case",
        "workflows/summary.py",
        "if unfinished and self._request.turn < CHECKS:",
        "if unfinished:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A summary comes once all have ended, and not before",
        "workflows/summary.py",
        "if unfinished and self._request.turn < CHECKS:",
        "if False:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "Nobody gets a notice of each part beside the summary",
        "workflows/telling.py",
        'if request.notify == "summary" and self._left_to_summary(report):',
        "if False:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A part without failures is counted too",
        "workflows/telling.py",
        'elif request.notify == "summary":',
        "elif False:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "Checks are further and further apart",
        "workflows/summary.py",
        "_FIRST_SECONDS << execution.request.turn",
        "_FIRST_SECONDS",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A selection that goes on has not ended",
        "tally.py",
        "and not turns[max(turns)].continued",
        "and True",
        "unit/test_tally.py",
    ),
    Mutant(
        "A sender's words are code in a channel",
        "notifications/chat.py",
        ".translate(_CODE)",
        "",
        "functional/test_chat_notices.py",
    ),
    Mutant(
        "What stands in a thread is what was sent",
        "models/request.py",
        "case (_, str(parent)):",
        'case ("nobody", str(parent)):',
        "functional/test_chat_notices.py",
    ),
    Mutant(
        "A notice says whether a person must act",
        "notifications/advice.py",
        'return advice(data).startswith("To do")',
        "return True",
        "functional/test_subscriptions.py",
    ),
    Mutant(
        "What is protected is not to be sent again",
        "models/failure_codes.py",
        '    "ProtectedTag",\n    "RepositoryNotFoundException",',
        '    "RepositoryNotFoundException",',
        "unit/notifications/test_notices.py",
    ),
    Mutant(
        "Who was sent a request is summed up, whatever exists by then",
        "workflows/fan_out.py",
        'if self._request.notify != "summary":\n            return self._meant',
        "if True:\n            return self._meant",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A part of nothing tells by itself",
        "workflows/summary.py",
        "and not tally.is_awaited():",
        "and False:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "No notice says of a dead letter that it can do nothing any more",
        "notifications/text.py",
        "it is judged anew, and is carried out if the stack admits it by then.",
        "it is rejected again.",
        "functional/promise/test_rejections.py",
    ),
    Mutant(
        "What has become a dry run is not called done",
        "models/summary.py",
        'if report.request.dry_run and not report.request.payload.get("dryRun"):',
        "if False:",
        "functional/test_summaries.py",
    ),
    Mutant(
        "An image counts once, however many turns it takes",
        "models/summary.py",
        "turn.before_another() if following and following.met_images else turn",
        "turn",
        "functional/test_summaries.py",
    ),
    Mutant(
        "What failed before a turn that met no image is not left out",
        "models/summary.py",
        "if following and following.met_images else",
        "if following else",
        "functional/test_summaries.py",
    ),
    Mutant(
        "What was restored in part is not left out",
        "models/summary.py",
        "if code == RESTORED_IN_PART}",
        "if False}",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A rejection takes nothing back",
        "tally.py",
        'condition += f" AND (attribute_not_exists(#t{turn}) OR begins_with(#t{turn}, :rejected))"',
        'condition += f" AND (attribute_not_exists(#u{turn}) OR begins_with(#t{turn}, :rejected))"',
        "unit/test_tally.py",
    ),
    Mutant(
        "What a turn writes behind a gap is told",
        "tally.py",
        "(turn for turn in range(MAX_TURNS + 1) if turn not in turns)",
        "[next(turn for turn in range(MAX_TURNS + 1) if turn not in turns)]",
        "unit/test_tally.py",
    ),
    Mutant(
        "What SQS did not take is sent again, and what stands in front of it is stored",
        "workflows/fan_out.py",
        "if sent:\n                    break",
        "if False:\n                    break",
        "unit/workflows/test_fan_out.py",
    ),
    Mutant(
        "Ids times repositories have a limit",
        "workflows/fan_out.py",
        "> MOST_IMAGES:",
        "> MOST_IMAGES * 1_000:",
        "unit/workflows/test_fan_out.py",
    ),
    Mutant(
        "A summary is sent once, by whichever check comes second too",
        "workflows/telling.py",
        "lambda _: self._publish(notice()), of_all_turns=True)",
        "lambda _: self._publish(notice()))",
        "functional/test_summaries.py",
    ),
    Mutant(
        "A refused call costs a fan-out no progress",
        "request_queue.py",
        "except (ClientError, BotoCoreError) as error:",
        "except ZeroDivisionError as error:",
        "unit/workflows/test_fan_out.py",
    ),
    Mutant(
        "What another turn tries again is nobody's task",
        "notifications/data.py",
        "if request.dry_run or goes_on or not",
        "if request.dry_run or not",
        "unit/notifications/test_advice.py",
    ),
    Mutant(
        "Named images never wait behind a selection",
        "workflows/process.py",
        "if request.is_bulk and arrival.is_queued_among_others:",
        "if False:",
        "functional/test_lanes.py",
    ),
    Mutant(
        "Named images never wait behind a request for several repositories",
        "models/request.py",
        "return self.selection is not None or bool(self.repository_names)",
        "return self.selection is not None",
        "functional/test_lanes.py",
    ),
    Mutant(
        "A request moves once for each arrival",
        "workflows/forwarding.py",
        "replayed = arrived.run_unclaimed(_STEP, _sealed(request), SentRequests, send).replayed",
        "send(arrived); replayed = False",
        "functional/test_lanes.py",
    ),
    Mutant(
        "A request that moves is claimed where it is carried out",
        "workflows/process.py",
        "                return forwarding.forward(request, of_arrival, services, invocation, log)\n",
        "                with StepRunner(table, request.key).claim(request, None):\n"
        "                    return forwarding.forward(request, of_arrival, services, invocation, log)\n",
        "functional/test_lanes.py",
    ),
    Mutant(
        "What the bulk queue brings is not sent back there",
        "models/request.py",
        'return self.origin.kind == "message" and not self.internal',
        'return self.origin.kind == "message"',
        "functional/test_lanes.py",
    ),
    Mutant(
        "By hand, either function carries out whatever it gets",
        "models/request.py",
        'return self.origin.kind == "message" and not self.internal',
        "return not self.internal",
        "functional/test_lanes.py",
    ),
    Mutant(
        "A request that moves keeps its key",
        "request_queue.py",
        "Payload(dict(request.payload), request.origin, request.key,",
        'Payload(dict(request.payload), request.origin, ("message", request.origin.id),',
        "functional/test_lanes.py",
    ),
    Mutant(
        "A request that moves keeps its content",
        "request_queue.py",
        "Payload(dict(request.payload), request.origin",
        "Payload(_content(request), request.origin",
        "functional/test_lanes.py",
    ),
    Mutant(
        "A request that moves keeps its origin",
        "events.py",
        "return Payload(request, origin, tuple(key), name, turn, taken, seal, forwarded)",
        "return Payload(request, received, tuple(key), name, turn, taken, seal, forwarded)",
        "functional/test_lanes.py",
    ),
    Mutant(
        "Requests that move wait with those of their sender",
        "workflows/forwarding.py",
        "request_queue.sender_group(request)",
        "request_queue.group(request)",
        "functional/test_lanes.py",
    ),
    Mutant(
        "A session of a role is no sender of its own",
        "request_queue.py",
        '(origin.sender or "").partition(":")[0]',
        'origin.sender or ""',
        "unit/test_request_queue.py",
    ),
    Mutant(
        "A request that is too large to move is rejected",
        "workflows/forwarding.py",
        "if too_large := request_queue.over_size(message):",
        "if too_large := None:",
        "functional/test_fan_out.py",
    ),
    Mutant(
        "Nobody but the stack names the key of a request",
        "events.py",
        "            if not internal:\n",
        "            if False:\n",
        "functional/test_lanes.py",
    ),
    Mutant(
        "Nor does a forged envelope that was sent back as a dead letter",
        "workflows/process.py",
        "forwarding.check_sent(payload, request, table)",
        "forwarding.forward",
        "functional/test_lanes.py",
    ),
    Mutant(
        "What was forwarded says what it said when it arrived",
        "workflows/forwarding.py",
        "request.origin.to_json(), request.content_hash))",
        "request.content_hash))",
        "functional/test_lanes.py",
    ),
    Mutant(
        "What archives lists a repository as a whole",
        "workflows/selection.py",
        'return self.action == "delete" and not self._selection.of_archive',
        "return True",
        "unit/workflows/test_selection.py",
    ),
    Mutant(
        "Signatures of what cannot be seen stay",
        "registry/listing.py",
        "self.found = {d: image for d, image in self.found.items() if hidden.isdisjoint(_subjects(image))}",
        "pass",
        "unit/registry/test_listing.py",
    ),
    Mutant(
        "Another account's queue of the same name is not the bulk queue",
        "events.py",
        'bulk_queue_url.split("/")[-2:]  # of which account, and its name\n'
        '        return [_record(record, internal=_source(record).split(":")[-2:] == bulk_queue)',
        'bulk_queue_url.split("/")[-1:]\n'
        '        return [_record(record, internal=_source(record).split(":")[-1:] == bulk_queue)',
        "unit/test_events.py",
    ),
)


def caught(mutant: Mutant) -> Result:
    """Tries the tests on a copy with the change; the complaint is that none of them fails."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=_NOT_COPIED)
        path = copy / "src/handler" / mutant.file
        try:
            path.write_text(mutant.broken(path.read_text()))
        except ValueError as error:
            return Result([f"not applicable: {mutant.promise}: {error}"], cases=1)
        return _run(mutant, copy)


def _run(mutant: Mutant, copy: Path) -> Result:
    options = ["--quiet", "--maxfail=1", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    tests = [f"tests/{test}" for test in mutant.tests.split()]
    try:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=copy,
            env=os.environ | {"HYPOTHESIS_PROFILE": "mutants"},
            capture_output=True,
            check=False,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Result([f"not done within {_SECONDS} s: {mutant.promise}"], cases=1)
    if result.returncode == 1 and _FAILED.search(result.stdout):
        return Result([], cases=1)
    return Result([f"not caught: {mutant.promise}\n{result.stdout[-2000:]}{result.stderr[-2000:]}"], cases=1)
