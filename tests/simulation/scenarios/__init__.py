"""The stories that are told under faults. Each sets a world up, says what people and schedules do in it, and in the end
what must be true; what must be true of every restore and every set stands in `verdict`."""

from chalicelib.restore.model import Status
from tests.simulation.scenarios import backups, chains, disasters, increments, restores, resuming
from tests.simulation.scenarios.scenario import Scenario

__all__ = ["SCENARIOS", "Scenario"]


def _interrupted(phase: Status) -> dict[str, type[Scenario]]:
    name = phase.value.lower()
    return {
        f"cancelled-in-{name}": resuming.cancelled_in(phase, is_resumed=False),
        f"resumed-in-{name}": resuming.cancelled_in(phase, is_resumed=True),
    }


SCENARIOS: dict[str, type[Scenario]] = {
    "daily-set": backups.DailySet,
    "cycle": backups.Cycle,
    "lost-exports": backups.LostExports,
    "lost-exports-beyond-tokens": backups.LostExportsBeyondTokens,
    "overdue": backups.Overdue,
    "export-quota": backups.ExportQuota,
    "export-retries": backups.ExportRetries,
    "incremental-days": increments.IncrementalDays,
    "lost-parts": increments.LostParts,
    "restore-one": restores.RestoreOne,
    "clear-and-restore": restores.ClearAndRestore,
    "restore-many": restores.RestoreMany,
    "dry-run": restores.DryRun,
    "three-at-once": restores.ThreeAtOnce,
    "long-chain": restores.LongChain,
    "missing-only": restores.MissingOnly,
    "changed-only": restores.ChangedOnly,
    "keys": restores.Keys,
    "create-missing": restores.CreateMissing,
    "create-taken": restores.CreateTaken,
    "verified": restores.Verified,
    "write-units": restores.WriteUnits,
    "plan-digest": restores.PlanDigest,
    "asked-again": restores.AskedAgain,
    "slices": restores.Slices,
    "chain-in-turn": chains.ChainInTurn,
    "chain-in-turns": chains.ChainInTurns,
    "chain-changed-only": chains.ChainChangedOnly,
    "chain-missing-only": chains.ChainMissingOnly,
    "chain-keys": chains.ChainKeys,
    **{name: kind for phase in resuming.RESUMED_IN for name, kind in _interrupted(phase).items()},
    "resumed-twice": resuming.ResumedTwice,
    "resumed-after-another": resuming.ResumedAfterAnother,
    "retried-after-denial": resuming.RetriedAfterDenial,
    "retried-after-deletion": resuming.RetriedAfterDeletion,
    "retried-after-damage": resuming.RetriedAfterDamage,
    "chain-retried-after-damage": resuming.ChainRetriedAfterDamage,
    "damaged-file": disasters.DamagedFile,
    "lost-ledger": disasters.LostLedger,
    "poison": disasters.Poison,
    "without-reconcile": disasters.WithoutReconcile,
    "blocked": disasters.Blocked,
    "replaced": disasters.Replaced,
}
