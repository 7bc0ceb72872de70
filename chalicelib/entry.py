"""What the event handlers of app.py do, one function each: events taken apart, services called.

AWS delivers events at least once, in any order, and sometimes not at all. Every function here may be called again
with the same event at any time, also while the first call still runs.

What only some functions need is imported inside of theirs: every function imports this module when it starts.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from chalicelib.errors import Fault, RetentionIncomplete
from chalicelib.services import Services

logger = logging.getLogger("tablevault")

EVENT_FUNCTIONS = ("start_exports", "record_export", "restore_shards", "record_dead_letter", "reconcile", "prune")
# Before Lambda ends it: the calls under way then, with their repetitions, take up to half of it.
_MARGIN_MS = 60_000


def is_event_function(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of them in Lambda, by the name Chalice gives a function: `{app}-{stage}-{function}`
    (https://aws.github.io/chalice/topics/configfile.html). The API's function has no third part."""
    return environ.get("AWS_LAMBDA_FUNCTION_NAME", "").endswith(tuple(f"-{name}" for name in EVENT_FUNCTIONS))


def start_exports(services: Services) -> dict[str, Any]:
    """The day's set, and the run of its on-demand backups, which reconcile makes."""
    steps: dict[str, Callable[[], Any]] = {"set": services.backups.start_scheduled}
    if services.settings.on_demand_daily:
        name = services.backups.name_of_the_day()  # starting the set may take until after midnight
        steps["on_demand"] = lambda: _begin_on_demand(services, name)
    results = _each("start_exports", steps)
    return {**results["set"], **{name: results[name] for name in results if name != "set"}}


def _begin_on_demand(services: Services, name: str) -> dict[str, Any]:
    services.on_demand.start(name, services.backups.choose, by_hand=False, stop_at_ms=services.clock())
    return services.on_demand.result_of_run(name)


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
    sweeps = {"backups": services.backups.reconcile, "ages": services.ages.run, "restores": services.restore_sweep.run}
    return _each("reconcile", sweeps)


def prune(services: Services, context: Any) -> dict[str, Any]:
    """Retention of sets and of on-demand backups. Raises RetentionIncomplete where something could not be removed:
    Lambda counts an error, and tries twice more."""
    left_ms = context.get_remaining_time_in_millis() - _MARGIN_MS
    stop_at_ms = services.clock() + left_ms
    steps = {
        # Very many objects may take more than one run; on-demand backups have their turn in each.
        "sets": lambda: services.set_pruner.run(stop_at_ms - left_ms // 4),
        "on_demand": lambda: services.backup_pruner.run(stop_at_ms),
    }
    results = _each("prune", steps)
    faults = [Fault(each["backup_date"], each["message"]) for each in results["sets"]["failures"]]
    faults += [Fault(arn, why) for arn, why in results["on_demand"]["left"].items()]
    if faults:
        raise RetentionIncomplete(faults)
    return results


def _each(function: str, steps: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each whatever becomes of the others: a failure is raised only after all had their turn."""
    failures: list[Exception] = []
    result: dict[str, Any] = {}
    for name, step in steps.items():
        try:
            result[name] = step()
        except Exception as error:
            logger.error("%s failed", function, exc_info=error, extra={"side": name})
            failures.append(error)
    if failures:
        raise failures[0]
    return result
