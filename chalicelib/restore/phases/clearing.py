"""CLEARING: one scan segment of a target, keys only, deleted page by page.

The checkpoint is the scan's position after a page whose keys are all deleted, and how many keys were deleted: a page
that was cut off is scanned again, and what it still holds is deleted then.
"""

import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import error_text, is_transient
from chalicelib.errors import OutOfTime, TargetUnavailable, Unavailable
from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.restore.model import Job, Shard, Table
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, outage_pause_ms

_PAGE_ITEMS = 1_000
_BATCH = 25
_THREADS = 8
Item = dict[str, dict[str, Any]]


def clear_segment(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    cleared, position = begun = _decode(shard.checkpoint)
    writer = BatchWriter(
        around.dynamodb,
        table.target,
        clock=around.clock,
        sleep=around.sleep,
        random=around.random,
        deadline_ms=run.give_up_ms,
        on_unanswered=around.unanswered.note,
        units_per_s=run.units_per_s,
        allowance=run.allowance,
    )
    try:
        names = _key_names(around, table)
        with ThreadPoolExecutor(_THREADS) as pool:
            while True:
                page = around.dynamodb.scan(**_scan(table, shard, names, position))
                deleted, failure = _delete(pool, writer, page["Items"])
                cleared += deleted
                if failure is not None:
                    raise failure
                position = page.get("LastEvaluatedKey")
                if position is None:
                    return Ended(table_add={"cleared": cleared})
                checkpoint = _encode(cleared, position)
                if around.clock() >= run.soft_stop_ms:
                    return Yielded(checkpoint, progressed=True)
                run.save(checkpoint)
    except (OutOfTime, Unavailable) as error:
        progressed = (cleared, position) != begun
        pause_ms = 0 if progressed else outage_pause_ms(shard)
        return Yielded(_encode(cleared, position), progressed=progressed, reason=error.message, pause_ms=pause_ms)
    except TargetUnavailable as error:
        return Ended(failure=f"{table.target}: clearing stopped: {error.message}", table_add={"cleared": cleared})
    except ClientError as error:
        if is_transient(error):
            raise
        reason = f"{table.target}: clearing stopped: {error_text(error)}"
        return Ended(failure=reason, table_add={"cleared": cleared})
    finally:
        writer.close()


def _delete(pool: ThreadPoolExecutor, writer: BatchWriter, keys: Sequence[Item]) -> tuple[int, BaseException | None]:
    """How many of a page's keys are deleted, and the first failure among its batches. No request is open then."""
    starts = range(0, len(keys), _BATCH)
    batches = [pool.submit(writer.delete_keys, keys[start : start + _BATCH]) for start in starts]
    failures = [batch.exception() for batch in batches]
    deleted = sum(batch.result() for batch, failure in zip(batches, failures, strict=True) if failure is None)
    return deleted, next((failure for failure in failures if failure is not None), None)


def _key_names(around: Surroundings, table: Table) -> list[str]:
    described = around.dynamodb.describe_table(TableName=table.target)["Table"]
    return [key["AttributeName"] for key in described["KeySchema"]]


def _scan(table: Table, shard: Shard, names: Sequence[str], position: Item | None) -> dict[str, Any]:
    placeholders = {f"#k{number}": name for number, name in enumerate(names)}
    request: dict[str, Any] = {
        "TableName": table.target,
        "ProjectionExpression": ", ".join(placeholders),
        "ExpressionAttributeNames": placeholders,
        "ConsistentRead": True,
        "Limit": _PAGE_ITEMS,
    }
    if shard.segments > 1:
        request |= {"Segment": shard.number, "TotalSegments": shard.segments}
    if position is not None:
        request["ExclusiveStartKey"] = position
    return request


def _encode(cleared: int, position: Item | None) -> str:
    def text(value: Any) -> Any:
        return {"b64": base64.b64encode(value).decode()}

    return json.dumps([cleared, position], default=text)


def _decode(checkpoint: str | None) -> tuple[int, Item | None]:
    if checkpoint is None:
        return 0, None
    cleared, position = json.loads(checkpoint)
    for value in (position or {}).values():
        if isinstance(value.get("B"), dict):
            value["B"] = base64.b64decode(value["B"]["b64"])
    return cleared, position
