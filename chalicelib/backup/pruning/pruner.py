"""A run of retention, and the plan of one. A run may be cut off anywhere, run twice, and at the same time.

1. removals that were begun are finished   they cannot be undone
2. all sets are looked at, and decided on  nothing
3. those that go are marked                marks; nobody begins to read these sets. The next run decides again
4. a pause: restores and new backups are   the same
   found by an index that lags behind
5. they are looked at and decided on once  the same
   more; marks of those that now stay are
   taken back
6. of each that goes, in the plan's order: the mark says REMOVING, and the next run finishes it
   its removal begins, `deleting` does it,
   and its mark goes last

Before a set goes, every set that builds on it has lost its manifest: where one of them could not be removed, or turned
out to be in use, what it builds on stays with it. Where something cannot be read, nothing is removed.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from chalicelib.aws import DENIED, Client
from chalicelib.backup.failures import AwsError, code_of, text_of
from chalicelib.backup.pruning.deleting import SetDeleter
from chalicelib.backup.pruning.gathering import Gatherer, Picture, SetsRead, in_parallel
from chalicelib.backup.pruning.removals import Mark, Removals, Stage
from chalicelib.backup.retention.chains import bases_of
from chalicelib.backup.retention.found import SetPolicy
from chalicelib.backup.retention.plan import Reason, RetentionPlan
from chalicelib.backup.retention.sets import decide_sets
from chalicelib.clock import Clock
from chalicelib.errors import OutOfTime, TablevaultError
from chalicelib.ledger import Ledger
from chalicelib.retry import Sleep
from chalicelib.settings import Settings

logger = logging.getLogger("tablevault")

# A secondary index follows its table within a fraction of a second, as a rule
# (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html).
PAUSE_S = 10
_MOST_NAMES = 100  # of one reason in a plan that is shown: Lambda answers with at most 6 MB
_LEAST_MS = (PAUSE_S + 20) * 1000  # what marking, the pause and looking again take


class Failure(msgspec.Struct, frozen=True):
    """`key`: of the object in the bucket that it is about, where it is about one."""

    backup_date: str
    code: str
    message: str
    key: str | None = None


class _Run(msgspec.Struct):
    """`left`: what should go, and did not in this run."""

    stop_at_ms: int
    removed: list[str] = []
    left: list[str] = []
    failures: list[Failure] = []

    def result(self, kept: Sequence[str]) -> dict[str, Any]:
        failures = msgspec.to_builtins(self.failures)
        return {"kept": list(kept), "removed": self.removed, "left": self.left, "failures": failures}


class SetPruner:
    def __init__(
        self, settings: Settings, ledger: Ledger, s3: Client, clock: Clock, sleep: Sleep, sets_read: SetsRead
    ) -> None:
        """`sets_read`: the names of the sets that restores read which have not ended."""
        self._policy = policy_of(settings)
        self._gatherer = Gatherer(settings, ledger, s3, clock, sets_read)
        self._removals = Removals(ledger, clock)
        self._deleter = SetDeleter(settings, ledger, s3, clock)
        self._clock = clock
        self._sleep = sleep

    def plan(self, policy: SetPolicy | None = None, stop_at_ms: int | None = None) -> dict[str, Any]:
        """What a run would do now, by the settings' policy or another one; changes nothing. Raises Unavailable at
        `stop_at_ms`, and where something cannot be read for now."""
        asked = policy or self._policy
        picture = self._gatherer.gather(stop_at_ms)
        plan = decide_sets(picture.sets, asked, self._clock())
        begun = [name for name, mark in sorted(picture.marks.items()) if mark.stage is Stage.REMOVING]
        return {
            "policy": msgspec.to_builtins(asked),
            "sets": _shown(picture, plan),
            "removals": list(plan.removals),
            "being_removed": begun,
            "not_ours": picture.strangers,
        }

    def run(self, stop_at_ms: int) -> dict[str, Any]:
        """Removes what the settings' policy lets go; what is not done at `stop_at_ms` is left to the next run. With
        retention off nothing goes but what is being removed already.

        Raises what keeps it from seeing everything: LedgerEntryCorrupt, Unavailable, botocore's errors.
        """
        run = _Run(stop_at_ms)
        marks = self._removals.all()
        self._finish(run, [mark for mark in marks if mark.stage is Stage.REMOVING])
        if self._policy.days is None:
            self._take_back(mark for mark in marks if mark.stage is Stage.MARKED)
            return self._told(run, ())
        picture = self._gatherer.gather(stop_at_ms)
        plan = decide_sets(picture.sets, self._policy, self._clock())
        stale = [mark for name, mark in picture.marks.items() if name not in plan.removals]
        self._take_back(mark for mark in stale if mark.stage is Stage.MARKED)
        if plan.removals and self._clock() + _LEAST_MS < stop_at_ms:
            plan = self._remove_all(run, plan)
        run.left += [name for name in plan.removals if name not in {*run.removed, *run.left}]
        return self._told(run, plan.kept)

    # --- removing ----------------------------------------------------------------------------------------------

    def _remove_all(self, run: _Run, plan: RetentionPlan) -> RetentionPlan:
        """The plan that was carried out, which is of after the pause."""
        whys = {each.name: "; ".join(reason.text for reason in each.reasons) for each in plan.decisions}
        marks = in_parallel(lambda name: self._removals.mark(name, whys[name]), plan.removals)
        ours = {mark.backup_date: mark for mark in marks if mark.stage is Stage.MARKED}
        try:
            self._sleep(PAUSE_S)
            picture = self._gatherer.gather(run.stop_at_ms)
            plan = decide_sets(picture.sets, self._policy, self._clock())
            self._remove_marked(run, plan, picture, ours)
        finally:
            # Those that stay, those there was no time for, and all where the second look failed: their sets are
            # untouched, and may be restored from again.
            self._take_back(ours.values())
        return plan

    def _remove_marked(self, run: _Run, plan: RetentionPlan, picture: Picture, ours: dict[str, Mark]) -> None:
        """Takes those out of `ours` whose removal has begun."""
        found = [*picture.sets, *picture.going]
        standing = {each.backup_date: bases_of(each.backup_date, each.tables) for each in found}
        for name in plan.removals:
            builds_on_it = [other for other, bases in standing.items() if name in bases]
            if name not in ours or builds_on_it or self._clock() >= run.stop_at_ms:
                continue
            begun = self._removals.begin(ours[name])
            if begun is not None:
                was_marked = ours.pop(name)
                if self._remove(run, begun, was_marked.stage):
                    del standing[name]

    def _finish(self, run: _Run, marks: Sequence[Mark]) -> None:
        for mark in marks:
            begun = self._removals.begin(mark) if self._clock() < run.stop_at_ms else None
            if begun is None:
                run.left.append(mark.backup_date)
            else:
                self._remove(run, begun, mark.stage)

    def _remove(self, run: _Run, begun: Mark, was: Stage) -> bool:
        """Whether its manifest is gone: nobody needs what it builds on any more."""
        name = begun.backup_date
        try:
            self._deleter.hide(name)
        except AwsError as error:
            self._fail(run, Failure(name, code_of(error), f"the manifest cannot be deleted: {text_of(error)}"))
            if code_of(error) in DENIED and was is Stage.MARKED:
                self._take_back([begun])  # nothing of it is touched, and it can be restored from for as long
            return False
        try:
            self._remove_rest(run, begun)
        except OutOfTime as error:
            run.left.append(name)
            logger.info("backup is not removed completely yet", extra={"backup_date": name, "reason": error.message})
        except (TablevaultError, *AwsError) as error:
            code, text = (error.code, error.message) if isinstance(error, TablevaultError) else _of_aws(error)
            self._fail(run, Failure(name, code, f"{text}; the next run goes on"))
        return True

    def _remove_rest(self, run: _Run, begun: Mark) -> None:
        name = begun.backup_date
        refused = self._deleter.delete_objects(name, run.stop_at_ms)
        for each in refused:
            self._fail(run, Failure(name, each.code, each.text, each.key))
        if refused:
            return
        self._deleter.forget(name)
        if self._removals.take_away(begun):
            run.removed.append(name)
            logger.info("backup removed", extra={"backup_date": name, "reason": begun.why})
        else:
            run.left.append(name)  # to another run, which does the same

    def _take_back(self, marks: Iterable[Mark]) -> None:
        in_parallel(self._removals.take_away, list(marks))

    # --- telling -----------------------------------------------------------------------------------------------

    def _fail(self, run: _Run, failure: Failure) -> None:
        run.failures.append(failure)
        if failure.backup_date not in run.left:
            run.left.append(failure.backup_date)
        fields = {"backup_date": failure.backup_date, "code": failure.code, "error": failure.message}
        logger.error("backup could not be removed", extra=fields)

    def _told(self, run: _Run, kept: Collection[str]) -> dict[str, Any]:
        counts = {"kept": len(kept), "removed": len(run.removed), "left": len(run.left), "failed": len(run.failures)}
        logger.info("retention of backups ended", extra=counts)
        return run.result(sorted(kept))


def policy_of(settings: Settings) -> SetPolicy:
    retention = settings.retention
    return SetPolicy(
        days=retention.days,
        minimum=retention.minimum,
        daily=retention.daily,
        weekly=retention.weekly,
        monthly=retention.monthly,
        yearly=retention.yearly,
        timezone=settings.as_of.timezone,
    )


def _shown(picture: Picture, plan: RetentionPlan) -> list[dict[str, Any]]:
    """Newest first."""
    statuses = {each.backup_date: each.status for each in picture.sets}
    return [
        {
            "backup_date": each.name,
            "status": statuses[each.name].value,
            "is_kept": each.is_kept,
            "reasons": [_shown_reason(reason) for reason in each.reasons],
        }
        for each in reversed(plan.decisions)
    ]


def _shown_reason(reason: Reason) -> dict[str, Any]:
    """Of very many names the first ones: where no manifest can be read, every set would name all the others."""
    shown: dict[str, Any] = msgspec.to_builtins(reason)
    return {**shown, "names": shown["names"][:_MOST_NAMES]}


def _of_aws(error: Any) -> tuple[str, str]:
    return code_of(error), text_of(error)
