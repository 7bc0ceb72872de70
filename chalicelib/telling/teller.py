"""Sending what the outbox holds. Reconcile alone does it, at any time, also while another run does.

Order, and what is left if the program stops right after each step:

1. the notice is claimed       it waits until the claim has passed
2. the topic is told           it is told once more, with the same notification id
3. that is noted               the bus and the metrics are still to do
4. the bus is told, and noted  as with the topic
5. the metrics are written,    they are written once more: sums of that minute count twice
   and noted
6. the notice ends             nothing

What is said is read when it is sent. A notice that something newer has overtaken is not sent: of a set that has been
finished once more the later notice says all, and one that is finished by now is not overdue.

A channel that fails does not stop the others. It is tried again a minute later; what no trying mends, and what has
not passed after some tries, with pauses that grow up to hours; and it is given up after three days.
"""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress

import msgspec

from chalicelib.aws import Client
from chalicelib.backup.assembly import assemble
from chalicelib.backup.catalog import Catalog
from chalicelib.backup.failures import AwsError, text_of
from chalicelib.backup.notices import NoticeRow, What
from chalicelib.backup.on_demand.runs import Runs
from chalicelib.backup.reading import find_manifest
from chalicelib.clock import Clock
from chalicelib.errors import LedgerEntryCorrupt, ManifestInvalid, NotFound, TablevaultError
from chalicelib.ledger import Ledger
from chalicelib.settings import Settings
from chalicelib.telling import messages, metrics
from chalicelib.telling.channels import Bus, Channel, NotSent, Topic
from chalicelib.telling.deliveries import Deliveries, Outcome, Overtaken
from chalicelib.telling.wording import Message

logger = logging.getLogger("tablevault")

WriteLine = Callable[[str], None]
GIVE_UP_MS = 3 * 24 * 3600 * 1000
_MINUTE_MS = 60 * 1000
_LONGEST_PAUSE_MS = 4 * 3600 * 1000
_TRIES_A_MINUTE_APART = 5
# A minute, less what a run may begin later than the one before it: the next run tries again.
_NEXT_RUN_MS = 45 * 1000


class Teller:
    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        s3: Callable[[], Client],
        sns: Callable[[], Client],
        events: Callable[[], Client],
        clock: Clock,
        write_line: WriteLine | None = None,
    ) -> None:
        """`write_line`: one line to standard output, which in Lambda is the log that metrics are made of."""
        self._catalog = Catalog(ledger)
        self._runs = Runs(ledger)
        self._deliveries = Deliveries(ledger, clock)
        self._s3 = s3
        self._clock = clock
        self._write_line = write_line or to_standard_output
        self._channels: dict[str, Channel] = {}
        if settings.telling.topic:
            self._channels["topic_told_at_ms"] = Topic(settings.telling.topic, sns)
        self._channels["bus_told_at_ms"] = Bus(settings.telling.event_bus, events)

    def carry_on(self, name: str, stop_at_ms: int) -> None:
        """One notice, named as `Catalog.open_work` does. Raises LedgerEntryCorrupt, and the ledger's errors."""
        row = self._deliveries.claim(name)
        if row is None:
            return
        with suppress(Overtaken):  # the other run does all that is left
            self._tell(row)

    def _tell(self, row: NoticeRow) -> None:
        try:
            message = self._message(row)
        except Exception as error:
            self._later(row, [_not_read(row, error)])
            return
        if message is None:
            self._deliveries.end(row, Outcome.SUPERSEDED)
            return
        row, failures = self._send_all(row, message)
        if row.measured_at_ms is None:
            self._measure(row)
            row = self._deliveries.note(row, "measured_at_ms")
        if failures:
            self._later(row, failures)
        else:
            self._deliveries.end(row, Outcome.TOLD)

    def _send_all(self, row: NoticeRow, message: Message) -> tuple[NoticeRow, list[NotSent]]:
        """To each channel that was not told yet."""
        failures = []
        for field, channel in self._channels.items():
            if getattr(row, field) is None:
                row, failure = self._send(row, field, channel, message)
                failures += [failure] if failure else []
        return row, failures

    def _message(self, row: NoticeRow) -> Message | None:
        """None where the notice is superseded. Raises botocore's errors, and LedgerEntryCorrupt."""
        if row.what is What.FINISHED:
            return self._finished(row)
        if row.what is What.OVERDUE:
            return self._overdue(row)
        if row.what is What.NOT_STARTED:
            return self._not_started(row)
        if row.what is What.ON_DEMAND_FINISHED:
            return self._on_demand(row)
        return messages.stale(row)

    def _not_started(self, row: NoticeRow) -> Message | None:
        """A set that was adopted in the day's place, and that no run of the schedule has taken over, is not its set."""
        set_row = self._catalog.set_row(row.name)
        return messages.not_started(row) if set_row is None or set_row.adopted else None

    def _on_demand(self, row: NoticeRow) -> Message | None:
        try:
            return messages.on_demand_finished(row, self._runs.record(row.name))
        except NotFound:
            return None  # retention has removed the run, after a time in which nobody could be told

    def _finished(self, row: NoticeRow) -> Message | None:
        try:
            found = find_manifest(self._s3(), row.s3_bucket or "", row.exports_prefix or "", row.name)
        except ManifestInvalid as error:
            return self._unread(row, error.message)
        if found is None:
            return self._unread(row, "it is not in the bucket")
        if found[0].revision > row.manifest_revision and self._was_opened_again(row):
            return None  # whoever wrote it finishes the set once more, or reconcile does: there is a notice of that
        return messages.finished(row, found[0])

    def _unread(self, row: NoticeRow, why: str) -> Message:
        """What the manifest says, or would: the ledger's rows are what it was made of."""
        try:
            record = self._catalog.record(row.name)
        except (NotFound, LedgerEntryCorrupt):
            return messages.finished_unread(row, why)
        if not record.is_decided:
            return messages.finished_unread(row, why)
        manifest = msgspec.structs.replace(assemble(record), revision=row.manifest_revision)
        return messages.finished(row, manifest, unread=why)

    def _was_opened_again(self, row: NoticeRow) -> bool:
        set_row = self._catalog.set_row(row.name)
        return set_row is not None and set_row.revision > row.revision

    def _overdue(self, row: NoticeRow) -> Message | None:
        try:
            record = self._catalog.record(row.name)
        except NotFound:
            return None
        return messages.overdue(row, record, self._clock()) if record.set.is_open else None

    def _send(self, row: NoticeRow, field: str, channel: Channel, message: Message) -> tuple[NoticeRow, NotSent | None]:
        fields = {"backup_date": row.name, "what": row.what.value, "channel": field.removesuffix("_told_at_ms")}
        try:
            channel.send(message, row.notification_id)
        except NotSent as failure:
            log = logger.warning if failure.may_pass else logger.error
            log("notice could not be sent, and is tried again", extra={**fields, "error": failure.reason})
            return row, failure
        except Exception as error:  # botocore refuses a request that it cannot make
            logger.error("notice could not be sent, and is tried again", exc_info=error, extra=fields)
            return row, NotSent(str(error), may_pass=False)
        logger.info("notice sent", extra={**fields, "notification_id": row.notification_id})
        return self._deliveries.note(row, field), None

    def _measure(self, row: NoticeRow) -> None:
        if row.what is not What.FINISHED:
            return
        try:
            for line in list(metrics.of_set(self._catalog.record(row.name), row.opened_at_ms)):
                self._write_line(line)
        except Exception as error:  # rows that are gone or corrupt stay so; people are told all the same
            logger.warning("there are no metrics of this backup", exc_info=error, extra={"backup_date": row.name})

    def _later(self, row: NoticeRow, failures: list[NotSent]) -> None:
        if self._clock() - row.opened_at_ms < GIVE_UP_MS:
            pause_ms = pause_after(row.failures, may_pass=all(failure.may_pass for failure in failures))
            self._deliveries.postpone(row, pause_ms)
            return
        self._deliveries.end(row, Outcome.GIVEN_UP)
        fields = {"backup_date": row.name, "what": row.what.value, "error": "; ".join(str(each) for each in failures)}
        logger.error("notice is given up after three days, and not everybody was told", extra=fields)


def pause_after(failures: int, *, may_pass: bool) -> int:
    """Milliseconds until a notice is tried again that has failed `failures` times before this one."""
    grown = failures - _TRIES_A_MINUTE_APART if may_pass else failures
    return _NEXT_RUN_MS if grown < 0 else min(_LONGEST_PAUSE_MS, 2 * _MINUTE_MS << min(grown, 20))


def to_standard_output(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _not_read(row: NoticeRow, error: Exception) -> NotSent:
    fields = {"backup_date": row.name, "what": row.what.value}
    if isinstance(error, AwsError):
        logger.warning("what a notice is about cannot be read yet", extra={**fields, "error": text_of(error)})
        return NotSent(text_of(error), may_pass=True)
    text = error.message if isinstance(error, TablevaultError) else str(error)
    logger.error("what a notice is about cannot be read", exc_info=error, extra=fields)
    return NotSent(text, may_pass=False)
