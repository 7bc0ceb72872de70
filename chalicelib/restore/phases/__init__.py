"""What is done with a shard, one module per phase of a restore; `planner` is what PLANNING decides, pure.

A phase's module is imported with its first shard: a worker that is woken to load needs no other phase, and would pay
for all of them with its cold start.
"""

from importlib import import_module

from chalicelib.restore.model import Kind, Status
from chalicelib.restore.work import Perform

WORK = {
    (Status.REOPENING, Kind.REOPEN): "reopening.reopen_table",
    (Status.PLANNING, Kind.PLAN): "planning.plan_table",
    (Status.CHECKING, Kind.TARGET): "checking.check_target",
    (Status.CHECKING, Kind.LOAD): "checking_files.check_files",
    (Status.SAFEGUARDING, Kind.SAFEGUARD): "safeguarding.take_safety_backup",
    (Status.CREATING, Kind.CREATE): "creating.create_target",
    (Status.CLEARING, Kind.CLEAR): "clearing.clear_segment",
    (Status.LOADING, Kind.LOAD): "loading.load_files",
    (Status.FINISHING, Kind.FINISH): "finishing.finish_target",
    (Status.COMPARING, Kind.LOAD): "comparing.compare_files",
    (Status.VERIFYING, Kind.VERIFY): "verifying.verify_table",
}


def work_of(phase: Status, kind: Kind) -> Perform:
    """What a phase does with a shard of that kind. Raises KeyError where it does nothing with it."""
    module, name = WORK[phase, kind].split(".")
    perform: Perform = getattr(import_module(f"{__name__}.{module}"), name)
    return perform
