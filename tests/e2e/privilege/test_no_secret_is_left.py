"""After a whole run, no token and no item content is in anything it logged, wrote down or answered.

Item content stands only where it must: in the exports' data files, in `restores/{id}/rejected/`, which keeps what
DynamoDB refused, and in `restores/{id}/keys.json`, which keeps the keys that were asked for.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.ledger import Delete, Key, Put
from chalicelib.restore.model import Kind
from tests.e2e.privilege import marked
from tests.e2e.privilege.notices import ON_TOPIC, heard
from tests.e2e.privilege.scanner import findings
from tests.e2e.privilege.stand import Stand
from tests.e2e.privilege.whole_run import WholeRun
from tests.unit.policies.documents import POLICY_BY_FUNCTION

pytestmark = pytest.mark.e2e
Place = tuple[str, bytes]


def places(stand: Stand) -> Iterator[Place]:
    """Everything there is to read, as it is stored: `(what it is, its bytes)`."""
    yield from _logs(stand)
    yield from _ledger(stand)
    yield from _objects(stand)
    yield from stand.answers
    yield from stand.results
    yield from stand.messages
    yield from heard(stand)


def _logs(stand: Stand) -> Iterator[Place]:
    logs = stand.sandbox.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            events = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
            messages = [event["message"] for found in events for event in found["events"]]
            yield f"the log of {group['logGroupName']}", "\n".join(messages).encode()
    for path in stand.sandbox.state_dir.glob("*.log"):
        yield path.name, path.read_bytes()


def _ledger(stand: Stand) -> Iterator[Place]:
    for row in stand.rows():
        text = json.dumps(row, default=lambda value: bytes(value).decode("latin-1"))
        yield f"the ledger's row {row['pk']['S'].split('#')[0]}/{row['sk']['S'].split('#')[0]}", text.encode()


def _objects(stand: Stand) -> Iterator[Place]:
    s3, bucket = stand.sandbox.client("s3"), stand.sandbox.stage.backup_bucket
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for key in (each["Key"] for each in page.get("Contents", [])):
            if _must_hold_items(key):
                continue
            yield f"the object {key}", key.encode() + s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def _must_hold_items(key: str) -> bool:
    is_data = key.startswith("native-exports/") and "/data/" in key
    return is_data or "/rejected/" in key or (key.startswith("restores/") and key.endswith("/keys.json"))


def secrets_of(whole: WholeRun) -> dict[str, bytes]:
    return {**marked.marks(), **whole.tokens}


def test_nothing_holds_a_token_or_item_content(stand: Stand, whole: WholeRun) -> None:
    found = findings(places(stand), secrets_of(whole))
    assert not found, "\n".join(sorted(set(found)))


def test_all_that_was_to_be_read_was_there_to_read(stand: Stand, whole: WholeRun) -> None:
    seen = dict(places(stand))
    for function in POLICY_BY_FUNCTION:
        group = f"the log of /aws/lambda/{stand.sandbox.stage.lambda_name(function)}"
        assert seen[group], f"{function} has logged nothing"
    assert b"restore ended" in seen["the log of /aws/lambda/tablevault-sandbox-restore_shards"]
    assert seen["emulator.log"]
    names = " ".join(seen)
    for part in ("manifest.json", "table.json", "receipt.json", "data-files/marked-orders.jsonl", "row RESTORE/SHARD"):
        assert part in names
    assert {"a queue message", "what reconcile returned", "an answer to a POST (422)"} <= seen.keys()
    assert {"a message heard-on-the-topic", "a message heard-on-the-bus"} <= seen.keys()
    statuses = {name.rsplit("(", 1)[-1] for name in seen if name.startswith("an answer")}
    assert {"200)", "202)", "400)", "401)", "403)", "404)", "409)", "422)"} <= statuses
    cleared = list(stand.records.shards(whole.restore_id, Kind.CLEAR))
    assert any(shard.checkpoint for shard in cleared), "CLEARING wrote no checkpoint, whose position holds a key"
    rejected = [key for key in _keys(stand) if f"restores/{whole.restore_id}/rejected/" in key]
    assert rejected, "no refused item was kept, so none could have leaked"


def _keys(stand: Stand) -> list[str]:
    s3, bucket = stand.sandbox.client("s3"), stand.sandbox.stage.backup_bucket
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [each["Key"] for page in pages for each in page.get("Contents", [])]


# --- the search itself: what is planted must be found ---------------------------------------------------------


def _plant_in_a_log(stand: Stand, text: str) -> None:
    group = f"/aws/lambda/{stand.sandbox.stage.lambda_name('reconcile')}"
    event = {"timestamp": int(time.time() * 1000), "message": f'{{"message": "planted {text} here"}}'}
    logs = stand.sandbox.client("logs")
    logs.create_log_stream(logGroupName=group, logStreamName=f"planted-{time.monotonic_ns()}")
    logs.put_log_events(logGroupName=group, logStreamName=_newest_stream(logs, group), logEvents=[event])


def _newest_stream(logs: Any, group: str) -> str:
    streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="planted-")["logStreams"]
    return str(max(stream["logStreamName"] for stream in streams))


def _remove_from_the_log(stand: Stand) -> None:
    group = f"/aws/lambda/{stand.sandbox.stage.lambda_name('reconcile')}"
    logs = stand.sandbox.client("logs")
    logs.delete_log_stream(logGroupName=group, logStreamName=_newest_stream(logs, group))


def _plant_in_the_ledger(stand: Stand, text: str) -> None:
    """As the checkpoint of CLEARING holds a key while it runs."""
    stand.ledger.write(Put(Key("PLANTED", "SHARD"), {"checkpoint": json.dumps([7, {"id": {"S": text}}])}))


def _plant_in_the_bucket(stand: Stand, text: str) -> None:
    bucket = stand.sandbox.stage.backup_bucket
    stand.sandbox.client("s3").put_object(Bucket=bucket, Key="restores/planted/receipt.json", Body=text.encode())


def _plant_in_a_notice(stand: Stand, text: str) -> None:
    """As it comes to a subscriber: the emulator itself logs what is published."""
    stand.sandbox.client("sqs").send_message(QueueUrl=stand.queue_url(ON_TOPIC), MessageBody=f"planted: {text}")


def _remove_from_the_notices(stand: Stand) -> None:
    stand.notices = [each for each in stand.notices if b"planted: " not in each[1]]


PLACES: dict[str, tuple[Callable[[Stand, str], None], Callable[[Stand], Any]]] = {
    "a log": (_plant_in_a_log, _remove_from_the_log),
    "a notice": (_plant_in_a_notice, _remove_from_the_notices),
    "the ledger": (_plant_in_the_ledger, lambda stand: stand.ledger.write(Delete(Key("PLANTED", "SHARD")))),
    "the bucket": (
        _plant_in_the_bucket,
        lambda stand: stand.sandbox.client("s3").delete_object(
            Bucket=stand.sandbox.stage.backup_bucket, Key="restores/planted/receipt.json"
        ),
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_is_found(stand: Stand, whole: WholeRun, place: str) -> None:
    plant, remove = PLACES[place]
    planted = {"a key": marked.KEY_MARK.encode(), "the token": whole.tokens["the token"]}
    plant(stand, f"{marked.KEY_MARK} {stand.sandbox.token}")
    try:
        assert len(findings(places(stand), planted)) == len(planted)
    finally:
        remove(stand)


@pytest.mark.parametrize("secret", ["a value", "a number", "a binary value", "a binary key"])
@pytest.mark.parametrize("lead", [b"", b"x", b"xy", b"xyz"])
def test_a_secret_is_found_however_it_is_written(secret: str, lead: bytes) -> None:
    content = marked.marks()[secret]
    written = {
        "raw": lead + content,
        "base64": base64.b64encode(lead + content + b"and more"),
        "base64 without its end": base64.b64encode(lead + content).rstrip(b"="),
        "hex": lead + content.hex().encode(),
        "JSON": lead + json.dumps(content.decode("latin-1")).encode(),
        "repr": lead + repr(content).encode(),
    }
    missed = [how for how, text in written.items() if not findings([("here", text)], {secret: content})]
    assert not missed
    assert not findings([("here", lead + b"nothing of the kind")], {secret: content})
