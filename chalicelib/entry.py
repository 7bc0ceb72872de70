"""What the event handlers of app.py do, one function each: events taken apart, services called.

AWS delivers events at least once, in any order, and sometimes not at all. Every function here may be called again
with the same event at any time, also while the first call still runs.

What only some functions need is imported inside of theirs: every function imports this module when it starts.
"""

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from chalicelib.services import Services

logger = logging.getLogger("tablevault")

EVENT_FUNCTIONS = ("start_exports", "record_export", "restore_shards", "record_dead_letter", "reconcile")


def is_event_function(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of them in Lambda, by the name Chalice gives a function: `{app}-{stage}-{function}`
    (https://aws.github.io/chalice/topics/configfile.html). The API's function has no third part."""
    return environ.get("AWS_LAMBDA_FUNCTION_NAME", "").endswith(tuple(f"-{name}" for name in EVENT_FUNCTIONS))


def start_exports(services: Services) -> dict[str, Any]:
    return services.backups.start_scheduled()


def record_export(services: Services, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Each record of an S3 event. S3's test event, which has none, is nothing to do."""
    results = []
    for record in event.get("Records", []):
        bucket = record["s3"]["bucket"]["name"]
        key = unquote_plus(record["s3"]["object"]["key"])
        results.append(services.backups.record_export(bucket, key))
    return results


def restore_shards(services: Services, record: dict[str, Any], context: Any) -> str:
    """One message of the restore queue: works for its slot. `context` is Lambda's, which knows the time left."""
    from chalicelib.restore.dead_letter import quarantine
    from chalicelib.restore.slots import parse_message

    message = parse_message(record["body"])
    if message is None:
        return quarantine(services.surroundings, record["messageId"], record["body"], "not a message of tablevault")
    outcome = services.worker.run(message, context.get_remaining_time_in_millis())
    fields = {"restore_id": message.restore_id, "slot": message.slot, "hop": message.hop, "how": outcome}
    logger.info("worker ended", extra=fields)
    return outcome


def record_dead_letter(services: Services, record: dict[str, Any]) -> str:
    return services.dead_letters.record(record)


def reconcile(services: Services) -> dict[str, Any]:
    """Backups and restores, each whatever becomes of the other: a failure is raised only after both had their turn."""
    failures: list[Exception] = []
    result: dict[str, Any] = {}
    for name, sweep in (("backups", services.backups.reconcile), ("restores", services.restore_sweep.run)):
        try:
            result[name] = sweep()
        except Exception as error:
            logger.error("reconcile failed", exc_info=error, extra={"side": name})
            failures.append(error)
    if failures:
        raise failures[0]
    return result
