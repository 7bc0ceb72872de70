"""Defects put into the service on purpose, one at a time. A year must find each of them, by what it is."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import msgspec

from chalicelib import aws
from chalicelib.backup import recorder
from chalicelib.backup.assembly import assemble
from chalicelib.backup.backup_names import ScheduledName
from chalicelib.backup.continuing import Chains
from chalicelib.backup.export_request import export_request
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.notices import NoticeRow, Outbox, What
from chalicelib.backup.on_demand import creating
from chalicelib.backup.pruning import gathering
from chalicelib.backup.pruning.deleting import SetDeleter
from chalicelib.backup.retention import on_demand, rules, sets
from chalicelib.backup.retention.on_demand import BackupPolicy
from chalicelib.backup.retention.plan import Reason, Why
from chalicelib.telling import messages
from chalicelib.telling.channels import Topic
from chalicelib.telling.deliveries import Deliveries
from chalicelib.telling.teller import Teller


@dataclass(frozen=True)
class YearMutation:
    """`found`: what a violation of it says."""

    name: str
    apply: Callable[[], Any]
    found: str


MUTATIONS: list[YearMutation] = []


def mutation(found: str) -> Callable[[Callable[[], Iterator[None]]], Callable[[], Iterator[None]]]:
    def register(function: Callable[[], Iterator[None]]) -> Callable[[], Iterator[None]]:
        MUTATIONS.append(YearMutation(function.__name__, contextmanager(function), found))
        return function

    return register


def _without(*left_out: Any) -> Any:
    return patch.object(sets, "RULES", tuple(rule for rule in rules.RULES if rule not in left_out))


# --- retention of sets -----------------------------------------------------------------------------------------------


@mutation("is removed, and it must stay: young")
def sets_go_after_half_of_their_days() -> Iterator[None]:
    decide = sets.decide_sets

    def halved(found: Any, policy: Any, now_ms: int) -> Any:
        return decide(found, msgspec.structs.replace(policy, days=policy.days // 2), now_ms)

    with patch("chalicelib.backup.pruning.pruner.decide_sets", halved):
        yield


@mutation("it must stay: ")
def the_newest_of_all_goes() -> Iterator[None]:
    decide = sets.decide_sets

    def without_newest(found: Any, policy: Any, now_ms: int) -> Any:
        closed = [each for each in found if each.status in ("COMPLETE", "PARTIAL")]
        newest = max((each.backup_date for each in closed), default="")
        plan = decide(found, policy, now_ms)
        return msgspec.structs.replace(plan, removals=(*plan.removals, newest) if newest else plan.removals)

    with patch("chalicelib.backup.pruning.pruner.decide_sets", without_newest):
        yield


@mutation("it must stay: needed by|cannot be restored")
def a_base_that_is_needed_goes() -> Iterator[None]:
    """Also where the pruner looks once more what is built on it."""
    unlooked: Any = patch("chalicelib.backup.pruning.pruner.bases_of", lambda name, tables: frozenset())
    with unlooked, patch.object(sets, "needed_by", lambda kept, bases: {}):
        yield


@mutation("it must stay: the last of")
def weeks_and_months_are_not_counted() -> Iterator[None]:
    with _without(rules._periods):
        yield


@mutation("still there, and nothing keeps it|it must stay: the last of")
def the_first_of_a_period_stays() -> Iterator[None]:
    def first_of_each(view: Any, period: Any) -> Any:
        chosen: dict[Any, dict[str, Any]] = {}
        for each in view.counted:
            for table in each.found.tables:
                chosen.setdefault(period.of(each.taken.day), {}).setdefault(table, each)
        return chosen

    with patch.object(rules, "_last_of_each", first_of_each):
        yield


@mutation("it must stay: shielded|was shielded, and is not there")
def a_shield_is_not_looked_at() -> Iterator[None]:
    listed = gathering.Gatherer._listed

    def unshielded(self: gathering.Gatherer, name: str) -> Any:
        return listed(self, name)._replace(has_shield=False)

    with patch.object(gathering.Gatherer, "_listed", unshielded):
        yield


@mutation("still there, and nothing keeps it")
def nothing_ever_goes() -> Iterator[None]:
    def all_of_them(view: Any) -> Iterator[Any]:
        yield from ((each.backup_date, Reason(Why.WITHIN_DAYS, "for ever")) for each in view.sets)

    with patch.object(sets, "RULES", (*rules.RULES, all_of_them)):
        yield


# --- removal ---------------------------------------------------------------------------------------------------------


@mutation("goes while its manifest stands")
def the_manifest_goes_last() -> Iterator[None]:
    with patch.object(SetDeleter, "hide", lambda self, backup_date: None):
        yield


@mutation("there is no manifest, and .* objects are left")
def a_set_loses_its_manifest_alone() -> Iterator[None]:
    with patch.object(SetDeleter, "delete_objects", lambda self, backup_date, stop_at_ms: []):
        yield


@mutation("there are rows left")
def a_removed_set_stays_in_the_ledger() -> Iterator[None]:
    with patch.object(SetDeleter, "forget", lambda self, backup_date: None):
        yield


# --- on-demand backups -----------------------------------------------------------------------------------------------


@mutation("is deleted, and it must stay")
def backups_go_under_the_minimum() -> Iterator[None]:
    def without_minimum(**limits: Any) -> Any:
        return BackupPolicy(**{**limits, "minimum": 0})

    with patch("chalicelib.backup.on_demand.pruning.BackupPolicy", without_minimum):
        yield


@mutation("is deleted, and it must stay")
def backups_of_another_environment_go() -> Iterator[None]:
    def of_any(environment: str, name: str) -> Any:
        return ScheduledName("2026-11-01") if name.startswith("tablevault-") and "scheduled" in name else None

    with patch.object(on_demand, "parse_backup_name", of_any):
        yield


@mutation("2 backups .* were made of")
def a_backup_whose_answer_was_lost_is_made_again_at_once() -> Iterator[None]:
    not_long = patch.object(creating, "CLAIM_MARGIN_MS", -(10**9))
    with not_long, patch.object(aws, "_give_up", lambda **_: None):
        yield


# --- exports ---------------------------------------------------------------------------------------------------------


@mutation("and was known up to")
def what_an_open_set_has_completed_is_exported_again() -> Iterator[None]:
    tables = Chains._tables

    def closed_ones(self: Chains, set_row: Any, name: str, *, is_open: bool) -> Any:
        return tables(self, set_row, name, is_open=False)

    with patch.object(Chains, "_tables", closed_ones):
        yield


@mutation("was exported 4 times|has attempt 4")
def an_export_that_fails_is_tried_again_and_again() -> Iterator[None]:
    with patch.object(recorder, "MOST_ATTEMPTS", 99):
        yield


@mutation("as the export of another attempt|was exported 2 times")
def an_export_is_asked_for_with_another_token_each_time() -> Iterator[None]:
    def with_another(parameters: Any) -> Any:
        return {**export_request(parameters), "ClientToken": secrets.token_hex(8)}

    with patch("chalicelib.backup.starter.export_request", with_another):
        yield


@mutation("has the tables|COMPLETE without every table")
def a_table_that_failed_is_left_out_of_the_manifest() -> Iterator[None]:
    def of_the_good(record: Any) -> Manifest:
        made = assemble(record)
        return msgspec.structs.replace(made, tables=tuple(each for each in made.tables if each.status == "COMPLETED"))

    with patch("chalicelib.backup.closing.assemble", of_the_good):
        yield


# --- telling ---------------------------------------------------------------------------------------------------------


@mutation("was told nothing")
def nobody_is_told() -> Iterator[None]:
    with patch.object(Outbox, "finished", lambda self, set_row, manifest: None):
        yield


@mutation("was told 2 times, and no answer was lost")
def a_notice_is_sent_twice() -> Iterator[None]:
    send = Topic.send

    def twice(self: Topic, message: Any, notification_id: str) -> None:
        send(self, message, notification_id)
        send(self, message, notification_id)

    with patch.object(Topic, "send", twice):
        yield


@mutation("times, and no answer was lost")
def that_a_channel_was_told_is_not_noted() -> Iterator[None]:
    note = Deliveries.note

    def only_metrics(self: Deliveries, row: Any, field: str) -> Any:
        return note(self, row, field) if field == "measured_at_ms" else row

    def never(self: Deliveries, row: Any, outcome: Any) -> None:
        self.postpone(row, 6 * 3600 * 1000)

    with patch.object(Deliveries, "note", only_metrics), patch.object(Deliveries, "end", never):
        yield


@mutation("of the on-demand backups .* was told 0 different things")
def nobody_is_told_of_on_demand_backups() -> Iterator[None]:
    """As if each notice of them were superseded."""
    message = Teller._message

    def of_others(self: Teller, row: NoticeRow) -> Any:
        return None if row.what is What.ON_DEMAND_FINISHED else message(self, row)

    with patch.object(Teller, "_message", of_others):
        yield


@mutation("was not told that")
def a_table_that_failed_is_not_told() -> Iterator[None]:
    finished = messages.finished

    def of_the_good(notice: Any, manifest: Manifest) -> Any:
        good = tuple(each for each in manifest.tables if each.status == "COMPLETED")
        return finished(notice, msgspec.structs.replace(manifest, tables=good))

    with patch.object(messages, "finished", of_the_good):
        yield
