"""Tells an export engine's Capture of every write to a table, where ministack 1.5.33 applies them: so also of those of
transactions, PartiQL, imports, replicas and TTL, which no stream record or request shows in one form."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.exports.capture import Capture, RecoveryOff
from sandbox.exports.requests import DEFAULT_RECOVERY_DAYS

Table = Mapping[str, Any]
Answer = tuple[int, Mapping[str, str], Any]
Call = Callable[[Mapping[str, Any]], Answer]


def install(capture: Capture) -> None:
    """Puts the hooks into ministack, in this process. ministack's functions find each other by name at each call, so
    replacing the module's attributes is enough."""
    from ministack.services import dynamodb

    dynamodb._set_item = _set_item(dynamodb._set_item, capture)
    dynamodb._remove_item = _remove_item(dynamodb._remove_item, capture)
    for name in ("_transact_write_items", "_execute_transaction"):
        setattr(dynamodb, name, _transaction(getattr(dynamodb, name), capture))
    dynamodb._update_continuous_backups = _switch(dynamodb._update_continuous_backups, capture)
    dynamodb._describe_continuous_backups = _describe(dynamodb._describe_continuous_backups, capture)


def _set_item(apply: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    def set_item(table: Table, pk_val: str, sk_val: str, item: Any) -> Any:
        with capture.lock:
            old = apply(table, pk_val, sk_val, item)
            # As in Streams, a write that changes nothing is none.
            if capture.is_on(table["TableId"]) and old != item:
                capture.wrote(table["TableId"], (pk_val, sk_val), old)
        return old

    return set_item


def _remove_item(apply: Callable[..., Any], capture: Capture) -> Callable[..., Any]:
    def remove_item(table: Table, pk_val: str, sk_val: str) -> Any:
        with capture.lock:
            old = apply(table, pk_val, sk_val)
            if old is not None and capture.is_on(table["TableId"]):
                capture.wrote(table["TableId"], (pk_val, sk_val), old)
        return old

    return remove_item


def _transaction(apply: Call, capture: Capture) -> Call:
    """One that is cancelled has written nothing: ministack puts what an ExecuteTransaction wrote until then back."""

    def transaction(data: Mapping[str, Any]) -> Answer:
        with capture.transaction() as undone:
            answer = apply(data)
            if answer[0] != 200:
                undone()
        return answer

    return transaction


def _switch(apply: Call, capture: Capture) -> Call:
    """On AWS too, switching recovery off drops the history, and on begins a new one.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html
    """

    def update_continuous_backups(data: Mapping[str, Any]) -> Answer:
        from ministack.services import dynamodb

        answer = apply(data)
        if answer[0] == 200:
            table = _table(data)
            asked = data.get("PointInTimeRecoverySpecification", {})
            capture.keep_only({each["TableId"] for _, each in dynamodb._tables.all_items()})
            if asked.get("PointInTimeRecoveryEnabled"):
                days = asked.get("RecoveryPeriodInDays", DEFAULT_RECOVERY_DAYS)
                capture.switch_on(table["TableId"], lambda: table["items"], days)
            else:
                capture.switch_off(table["TableId"])
        return _with_window(answer, data, capture)

    return update_continuous_backups


def _describe(apply: Call, capture: Capture) -> Call:
    return lambda data: _with_window(apply(data), data, capture)


def _with_window(answer: Answer, data: Mapping[str, Any], capture: Capture) -> Answer:
    """The recovery window as it is: ministack says "now" for both its ends, and keeps no period."""
    status, headers, body = answer
    if status != 200:
        return answer
    try:
        facts = capture.recovery(_table(data)["TableId"])
    except RecoveryOff:
        return answer
    told = json.loads(body)
    told["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"] |= {
        "RecoveryPeriodInDays": facts.recovery_days,
        "EarliestRestorableDateTime": facts.earliest_ms // 1000,
        "LatestRestorableDateTime": facts.latest_ms // 1000,
    }
    return status, headers, json.dumps(told).encode()


def _table(data: Mapping[str, Any]) -> Table:
    from ministack.services import dynamodb

    table: Table = dynamodb._tables[dynamodb._normalize_table_name(data["TableName"])]
    return table
