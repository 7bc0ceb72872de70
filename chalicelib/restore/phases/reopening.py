"""REOPENING, one table per shard: what ended without being done is put back to where it can be claimed again.

Before a restore goes on that was cancelled, or that ended with failures. Which shards depends on where it goes on:
LOADING never brings CLEARING back. Before LOADING everything is planned and checked anew, and the targets are backed up
once more: the backup and the targets may be others by now. If it stops halfway, the shards that were put back are
passed over by whoever goes on.
"""

from collections.abc import Iterator

from chalicelib.restore.model import PHASES, Job, Shard, Stage, Status, Table, Task
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded

_FAILED_AND_DONE = frozenset({Stage.FAILED, Stage.DONE})


def reopen_table(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    if job.resume_to is Status.PLANNING:
        around.records.plan_anew(job, table)
        return Ended()
    progressed = False
    for phase, task, ended in _to_reopen(around, job, table):
        if around.clock() >= run.soft_stop_ms:
            return Yielded(progressed=progressed, in_good_order=True)
        around.claims.reopen(job, phase, task, ended)
        progressed = True
    return Ended()


def _to_reopen(around: Surroundings, job: Job, table: Table) -> Iterator[tuple[Status, Task, Shard]]:
    for phase, stages in _phases_to_reopen(job.resume_to):
        task = PHASES[phase][0]
        for shard in around.records.shards(job.restore_id, task.kind, table.number):
            if shard.stage in stages:
                yield phase, task, shard


def _phases_to_reopen(resume_to: Status | None) -> list[tuple[Status, frozenset[Stage]]]:
    """Of which phases shards are put back, and from which stages. What comes after a phase that is done again is done
    again too: what it found is no longer so."""
    failed = frozenset({Stage.FAILED})
    if resume_to is Status.LOADING:
        again = [(Status.LOADING, failed), (Status.FINISHING, failed)]
        return [*again, (Status.COMPARING, frozenset({Stage.NOT_COMPARED})), (Status.VERIFYING, _FAILED_AND_DONE)]
    return []


def is_reopenable(table: Table) -> bool:
    """Whether a restore that went through VERIFYING left anything of a table that can be tried again."""
    failed = table.loading_failed or table.comparing_failed or table.finishing_failed or table.verifying_failed
    # A round of REOPENING that failed itself may have left some open.
    return bool(failed or table.phase(Status.LOADING).remaining or table.phase(Status.VERIFYING).remaining)
