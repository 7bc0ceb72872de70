"""What people do: ask for a restore until there is one, cancel it, start a backup. They see what the API tells them,
and nothing else; a request without an answer may have taken effect."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.api import routes
from chalicelib.backup.manifest import ExportType
from chalicelib.errors import Conflict, ManifestInvalid, NotFound, Unavailable
from chalicelib.idempotency import HEADER
from chalicelib.ledger.writes import plain_row
from chalicelib.restore.model import TERMINAL, Status
from chalicelib.restore.requests import parse_restore_request
from tests.simulation.world import ApiFailed, World

accept_once = routes._accept_once  # what POST /restores does with a request that has a key

_TRIES = 12
_IMPATIENT_TRIES = 120
NO_ANSWER = (ApiFailed, ClientError, BotoCoreError, Unavailable)


def ask(world: World, name: str, body: dict[str, Any]) -> str | None:
    """POST /restores; the id of the restore, or None where it was refused for good. `name` finds it again when the
    answer was lost."""
    request = parse_restore_request(body)
    for _ in range(_TRIES):
        try:
            job = world.api(lambda services: services.desk.accept(request, name))
            return str(job.restore_id)
        except NO_ANSWER:
            world.sleep_minutes(4)  # by then a request that was cut off is ended by reconcile
        except Conflict as conflict:
            if conflict.code != "target_locked":
                return None
            world.sleep_minutes(2)
        except (NotFound, ManifestInvalid):
            return None
        found = _asked_before(world, name)
        if found is not None:
            return found
    return None


def ask_with_key(world: World, name: str, key: str, body: dict[str, Any]) -> str | None:
    """The same by somebody who does not wait: the same request with its Idempotency-Key, again and again until there is
    an answer."""
    request = parse_restore_request(body)
    http: Any = SimpleNamespace(headers={HEADER: key}, context={"authorizer": {"principalId": name}})
    for _ in range(_IMPATIENT_TRIES):
        try:
            return str(world.api(lambda services: accept_once(http, request)).restore_id)
        except NO_ANSWER:
            world.scheduler.sleep(world.random.choice((0.0, 0.3, 5.0)))
        except Conflict as conflict:
            if conflict.code not in ("target_locked", "request_in_progress"):
                return None
            world.scheduler.sleep(world.random.choice((0.5, 20.0)))
        except (NotFound, ManifestInvalid):
            return None
    return None


def _asked_before(world: World, name: str) -> str | None:
    """As GET /restores shows it: a restore of ours that was accepted after all."""
    for job in jobs(world):
        was_accepted = job["status"] != "ACCEPTING" and "not accepted" not in (job.get("reason") or "")
        if job["requested_by"] == name and was_accepted:
            return str(job["restore_id"])
    return None


def jobs(world: World) -> list[dict[str, Any]]:
    rows = [plain_row(item) for key, item in list(world.ledger.items.items()) if key[1] == "JOB"]
    return sorted(rows, key=lambda row: (row["created_at_ms"], row["restore_id"]))


def wait_for_phase(world: World, restore_id: str, phase: Status) -> bool:
    """Looks at GET /restores/{id} until it shows the phase; False when the restore has gone past it."""
    while True:
        status = Status(_job(world, restore_id)["status"])
        if status is phase or status in TERMINAL:
            world.scheduler.sleep(world.random.choice((0.0, 0.02)))
            return status is phase
        world.watch.targets.wait_for_move()


def cancel_in(world: World, restore_id: str, phase: Status) -> None:
    """Cancels in the phase; a restore that has gone past it is left alone."""
    if not wait_for_phase(world, restore_id, phase):
        return
    world.scheduler.sleep(world.random.choice((0.0, 0.2, 3.0)) * world.random.random())
    cancel(world, restore_id)


def cancel(world: World, restore_id: str) -> None:
    for _ in range(_TRIES):
        try:
            world.api(lambda services: services.desk.cancel(restore_id))
            return
        except NO_ANSWER:
            world.sleep_minutes(1)
        except (Conflict, NotFound):
            return


def carry_on(world: World, restore_id: str, how: str) -> bool:
    """POST /restores/{id}/resume, or /retry-failed (`how`); whether it goes on, or is known to have gone on."""
    for _ in range(_IMPATIENT_TRIES):
        try:
            world.api(lambda services: getattr(services.desk, how)(restore_id))
            return True
        except NO_ANSWER:
            world.scheduler.sleep(world.random.choice((0.0, 5.0, 60.0)))
        except Conflict as conflict:
            if conflict.code not in ("target_locked", "request_in_progress"):
                return False
            world.scheduler.sleep(world.random.choice((0.2, 10.0, 60.0)))
        except NotFound:
            return False
    return False


def wait_for_end(world: World, restore_id: str, then_s: float = 1.0) -> Status:
    """Looks at GET /restores/{id} until it has ended, and a moment longer."""
    while True:
        status = Status(_job(world, restore_id)["status"])
        if status in TERMINAL:
            world.scheduler.sleep(then_s)
            return status
        world.watch.targets.wait_for_move()


def described(world: World, restore_id: str) -> dict[str, Any]:
    """GET /restores/{id}."""
    while True:
        try:
            said: dict[str, Any] = world.api(lambda services: services.desk.describe(restore_id))
            return said
        except NO_ANSWER:
            world.sleep_minutes(1)


def _job(world: World, restore_id: str) -> dict[str, Any]:
    return plain_row(world.ledger.items[(f"RESTORE#{restore_id}", "JOB")])


def back_up(world: World, export_type: ExportType = "FULL_EXPORT", tries: int = _TRIES) -> str | None:
    """POST /backups; the set's name."""
    for _ in range(tries):
        try:
            return str(
                world.api(lambda services: services.backups.start_by_hand(None, export_type=export_type))["backup_date"]
            )
        except NO_ANSWER:
            world.sleep_minutes(1)
        except Conflict:
            world.sleep_minutes(0.1)
    return None


def wait_until(world: World, is_true: Callable[[], bool], minutes: float) -> bool:
    for _ in range(round(minutes * 12)):
        if is_true():
            return True
        world.sleep_minutes(1 / 12)
    return is_true()
