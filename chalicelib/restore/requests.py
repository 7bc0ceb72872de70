"""The body of `POST /restores`, checked as a whole: InvalidRequest names every fault at once, each with its path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.errors import Fault, InvalidRequest
from chalicelib.settings import TABLE_NAME

LATEST = "latest"
MAX_WORKERS = 1000
# A request is written to the ledger row by row before it is accepted; this many fit well into the API's 29 s.
MAX_TABLES = 500
_RESTORE_ID = re.compile(r"r-\d{8}T\d{6}Z-[0-9a-f]{8}\Z")


@dataclass(frozen=True)
class RestoreRequest:
    """`tables` None: all of the set. `target_tables` maps source to target where the names differ."""

    backup_date: str = LATEST
    tables: tuple[str, ...] | None = None
    target_tables: Mapping[str, str] | None = None
    dry_run: bool = False
    clear_existing_data: bool = False
    max_workers: int = 5
    safety_backup: bool | None = None

    @property
    def takes_safety_backup(self) -> bool:
        """Unless said otherwise, before clearing and only then."""
        return self.clear_existing_data if self.safety_backup is None else self.safety_backup


class _Wrong(Exception):
    def __init__(self, *faults: Fault) -> None:
        self.faults = faults


def _backup_date(path: str, value: Any) -> str:
    if isinstance(value, str) and (value == LATEST or BACKUP_DATE.match(value)):
        return value
    raise _Wrong(Fault(path, "must be 'latest' or the name of a backup set: YYYY-MM-DD or YYYY-MM-DDTHHMMSSZ"))


def _boolean(path: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _Wrong(Fault(path, "must be true or false"))


def _max_workers(path: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WORKERS:
        return value
    raise _Wrong(Fault(path, f"must be a whole number from 1 to {MAX_WORKERS}"))


def _tables(path: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _Wrong(Fault(path, "must be a non-empty list of table names; leave it out for all tables of the set"))
    if len(value) > MAX_TABLES:
        raise _Wrong(Fault(path, f"must have at most {MAX_TABLES} tables; ask for the others in another restore"))
    faults = [fault for index, name in enumerate(value) for fault in _table_name_faults(f"{path}[{index}]", name)]
    if faults:
        raise _Wrong(*faults)
    repeated = sorted({name for name in value if value.count(name) > 1})
    if repeated:
        raise _Wrong(Fault(path, f"names twice: {', '.join(repeated)}"))
    return tuple(value)


def _target_tables(path: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _Wrong(Fault(path, "must be an object that maps source tables to target tables"))
    faults = []
    for source, target in value.items():
        faults += _table_name_faults(f"{path} (key {source[:255]!r})", source)
        faults += _table_name_faults(f"{path}.{source[:255]}", target)
    if faults:
        raise _Wrong(*faults)
    return value


def _table_name_faults(path: str, name: Any) -> list[Fault]:
    if isinstance(name, str) and TABLE_NAME.match(name):
        return []
    return [Fault(path, "must be a table name: 3 to 255 of a-z A-Z 0-9 _ . -")]


_FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "backup_date": _backup_date,
    "tables": _tables,
    "target_tables": _target_tables,
    "dry_run": _boolean,
    "clear_existing_data": _boolean,
    "max_workers": _max_workers,
    "safety_backup": _boolean,
}


def parse_restore_request(body: Any) -> RestoreRequest:
    """A decoded JSON body as a request. Raises InvalidRequest with every fault: unknown fields, wrong types,
    values out of range, and combinations that make no sense."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise InvalidRequest([Fault("$", "must be a JSON object")])
    values: dict[str, Any] = {}
    faults = []
    for name, value in body.items():
        check = _FIELDS.get(name)
        if check is None:
            faults.append(Fault(f"$.{name[:100]}", f"unknown field; allowed: {', '.join(_FIELDS)}"))
            continue
        try:
            values[name] = check(f"$.{name}", value)
        except _Wrong as wrong:
            faults += wrong.faults
    faults += _senseless(values)
    if faults:
        raise InvalidRequest(faults)
    return RestoreRequest(**values)


def _senseless(values: Mapping[str, Any]) -> list[Fault]:
    tables, mapping = values.get("tables"), values.get("target_tables") or {}
    if tables is None:
        return []
    strangers = sorted(set(mapping) - set(tables))
    faults = [Fault(f"$.target_tables.{name}", "is not among the asked tables") for name in strangers]
    return faults + target_faults(tables, mapping)


def target_faults(tables: tuple[str, ...], mapping: Mapping[str, str]) -> list[Fault]:
    """Two sources on one target would overwrite each other."""
    sources_by_target: dict[str, list[str]] = {}
    for source in tables:
        sources_by_target.setdefault(mapping.get(source, source), []).append(source)
    return [
        Fault("$.target_tables", f"{' and '.join(sorted(sources))} would both be restored into {target}")
        for target, sources in sorted(sources_by_target.items())
        if len(sources) > 1
    ]


def is_restore_id(text: str) -> bool:
    return bool(_RESTORE_ID.match(text))
