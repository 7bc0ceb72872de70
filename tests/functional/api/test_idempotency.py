"""`Idempotency-Key`: a POST that is sent again does what it did the first time, or goes on with it."""

from typing import Any

import pytest

from chalicelib.errors import Conflict
from chalicelib.restore.decision import ACCEPTING_LIMIT_MS
from chalicelib.services import services
from tests.functional.api.gateway import OPERATOR, WRITER, Answer, assert_problem, faults
from tests.functional.restore.world import LEDGER

pytestmark = pytest.mark.usefixtures("backed_up")
KEY = "a-key"


class Killed(BaseException):
    """Nothing in the code under test may catch it, as nothing catches a killed process."""


def post(api, body: Any = None, *, key: str = KEY, token: Any = OPERATOR, path: str = "/restores") -> Answer:
    answer: Answer = api.call("POST", path, {} if body is None else body, token=token, headers={"Idempotency-Key": key})
    return answer


def restores(api) -> list[str]:
    return [each["restore_id"] for each in api.call("GET", "/restores").body["restores"]]


def test_the_same_request_twice_is_one_restore_however_far_it_is(api):
    first = post(api)
    assert first.status == 202
    again = post(api)
    assert (again.status, again.body["restore_id"]) == (202, first.body["restore_id"])
    api.world.settle(first.body["restore_id"])
    ended = post(api)
    assert (ended.status, ended.body["status"]) == (202, "COMPLETED")
    assert restores(api) == [first.body["restore_id"]]
    assert post(api, key="another").body["restore_id"] != first.body["restore_id"]


def test_the_same_key_for_another_request_is_refused(api):
    first = post(api, {"dry_run": True})
    assert "another request" in faults(post(api, {"dry_run": True, "max_workers": 9}))["Idempotency-Key"]
    assert restores(api) == [first.body["restore_id"]]
    # Fields at their defaults are the same request.
    assert post(api, {"dry_run": True, "mode": "overwrite"}).body["restore_id"] == first.body["restore_id"]


def test_the_same_key_of_another_caller_is_another_key(api):
    first = post(api, {"dry_run": True})
    second = post(api, {"dry_run": True}, token=WRITER)
    assert (second.status, second.body["restore_id"] != first.body["restore_id"]) == (202, True)


def test_after_a_day_the_key_is_free_again(api):
    first = post(api, {"dry_run": True}).body["restore_id"]
    api.world.settle(first)
    api.world.clock.sleep(24 * 3600 + 1)
    assert post(api, {"dry_run": True}).body["restore_id"] != first


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "schl\u00fcssel", "a\tb"])
def test_a_key_that_is_none_is_refused(api, key):
    assert set(faults(post(api, key=key))) == {"Idempotency-Key"}
    assert restores(api) == []


def test_what_is_refused_is_refused_again_and_leaves_nothing(api):
    for _ in range(2):
        assert_problem(post(api, {"backup_date": "2020-01-01"}), 404, "backup_not_found")
    assert restores(api) == []


def test_a_locked_target_is_refused_and_the_same_key_works_once_it_is_free(api):
    holder = api.restore()
    assert_problem(post(api), 409, "target_locked")
    api.world.settle(holder)
    answer = post(api)
    assert answer.status == 202
    assert api.world.settle(answer.body["restore_id"])["status"] == "COMPLETED"


def cut_off(world, monkeypatch, at: str) -> None:
    """The first request with the key dies before this step of accepting."""
    desk = services().desk
    for name, owner in (("take_all", desk._locks), ("create_parts", desk._records)):
        if name == at:
            real = getattr(owner, name)

            def die(*arguments: Any, real=real, owner=owner, name=name, **more: Any) -> Any:
                monkeypatch.setattr(owner, name, real)
                raise Killed

            monkeypatch.setattr(owner, name, die)


@pytest.mark.parametrize("at", ["take_all", "create_parts"])
def test_one_that_was_cut_off_is_in_progress_until_it_is_given_up_and_then_asked_for_anew(api, monkeypatch, at):
    cut_off(api.world, monkeypatch, at)
    with pytest.raises(Killed):
        post(api)
    document = assert_problem(post(api), 409, "request_in_progress")
    assert "ask again" in document["detail"]
    (given_up,) = restores(api)
    api.world.clock.now_ms += ACCEPTING_LIMIT_MS
    api.world.tick()
    assert api.world.locks() == []
    anew = post(api)
    assert anew.status == 202
    assert anew.body["restore_id"] != given_up
    assert post(api).body["restore_id"] == anew.body["restore_id"]
    assert api.world.settle(anew.body["restore_id"])["status"] == "COMPLETED"
    assert api.call("GET", f"/restores/{given_up}").body["status"] == "FAILED"


def test_two_at_the_same_moment_make_one_restore(api, monkeypatch):
    """The second comes while the first has chosen its name and not yet written it down."""
    desk = services().desk
    real = desk._records.create_job
    others: list[Answer] = []

    def create_job(job: Any) -> bool:
        monkeypatch.setattr(desk._records, "create_job", real)
        others.append(post(api))
        return bool(real(job))

    monkeypatch.setattr(desk._records, "create_job", create_job)
    first = post(api)
    assert others[0].status == 202
    assert_problem(first, 409, "request_in_progress")
    assert restores(api) == [others[0].body["restore_id"]]
    assert post(api).body["restore_id"] == others[0].body["restore_id"]
    assert api.world.settle(others[0].body["restore_id"])["status"] == "COMPLETED"


def test_resume_and_retry_need_no_key(api):
    restore_id = post(api).body["restore_id"]
    api.call("POST", f"/restores/{restore_id}/cancel")
    api.world.settle(restore_id)
    for _ in range(2):
        assert api.call("POST", f"/restores/{restore_id}/resume").status == 202
    ended = api.world.settle(restore_id)
    assert (ended["status"], ended["resumes"]) == ("COMPLETED", 1)
    assert_problem(api.call("POST", f"/restores/{restore_id}/resume"), 409, "restore_not_resumable")
    assert_problem(api.call("POST", f"/restores/{restore_id}/retry-failed"), 409, "restore_not_retryable")


def test_keys_stand_hashed_in_the_ledger(api):
    post(api, key="what-the-caller-chose")
    assert "what-the-caller-chose" not in repr(api.world.dynamodb.scan(TableName=LEDGER)["Items"])


def test_conflicts_are_what_the_desk_says(api):
    desk = services().desk
    restore_id = post(api).body["restore_id"]
    with pytest.raises(Conflict) as raised:
        desk.resume(restore_id)
    answer = api.call("POST", f"/restores/{restore_id}/resume")
    assert assert_problem(answer, 409, raised.value.code)["detail"] == raised.value.message
