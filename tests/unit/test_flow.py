"""How many batches are under way, against targets whose behaviour is arithmetic."""

from itertools import pairwise

import pytest

from chalicelib.restore.datapath.flow import FIRST_LIMIT, MOST_LIMIT, Flow
from tests.faults import FakeTime


class Target:
    """Answers rounds of as many requests as the limit allows, each after `latency_ms`, at most `most_per_s` in all."""

    def __init__(self, latency_ms: float = 8, most_per_s: float = 1e9, throttles: bool = False) -> None:
        self.time = FakeTime()
        self.flow = Flow(self.time.clock)
        self.latency_ms = latency_ms
        self.most_per_s = most_per_s
        self.throttles = throttles
        self.limits: list[int] = []
        self._elapsed_ms = 0.0

    def run(self, seconds: float) -> list[int]:
        end_ms = self.time.now_ms + seconds * 1000
        begin = len(self.limits)
        while self.time.now_ms < end_ms:
            limit = self.flow.limit
            paced_ms = 0 if self.throttles else limit / self.most_per_s * 1000
            self._elapsed_ms += max(self.latency_ms, paced_ms)
            self.time.now_ms += int(self._elapsed_ms)
            self._elapsed_ms %= 1
            served = min(limit, int(self.most_per_s * self.latency_ms / 1000)) if self.throttles else limit
            for number in range(limit):
                self.flow.ended(throttled=number >= served)
            self.limits.append(self.flow.limit)
        return self.limits[begin:]


def test_it_begins_low():
    assert 4 <= Flow(FakeTime().clock).limit == FIRST_LIMIT <= 8


def test_a_target_that_takes_everything_gets_the_most_step_by_step():
    target = Target()
    limits = target.run(5)
    assert limits[-1] == MOST_LIMIT
    steps = [after - before for before, after in pairwise(limits)]
    assert set(steps) <= {0, 4}


def test_where_more_under_way_brings_nothing_there_are_not_more():
    """As where the worker itself, or what it reads from, is the limit."""
    target = Target(most_per_s=1_000)
    limits = target.run(30)
    assert max(limits) <= FIRST_LIMIT + 4
    assert target.flow.limit >= 4


def test_it_looks_again_later_whether_more_would_help():
    target = Target(most_per_s=1_000)
    target.run(10)
    target.most_per_s = 1e9
    assert target.run(15)[-1] == MOST_LIMIT


def test_a_target_that_refuses_everything_is_left_alone_but_asked():
    target = Target()
    target.run(5)
    target.most_per_s, target.throttles = 0, True
    limits = target.run(3)
    assert limits[-1] == 1
    halves = sorted(set(limits), reverse=True)
    assert len(halves) <= 8  # 64, 32, 16, ...


def test_after_throttling_it_comes_back():
    target = Target()
    target.most_per_s, target.throttles = 0, True
    target.run(3)
    target.throttles, target.most_per_s = False, 1e9
    assert target.run(10)[-1] == MOST_LIMIT


def test_a_target_with_a_limit_is_used_to_nearly_all_of_it():
    """3,000 requests a second at 8 ms are 24 under way."""
    target = Target(most_per_s=3_000, throttles=True)
    target.run(5)
    limits = target.run(20)
    assert 20 <= sum(limits) / len(limits) <= 30


def test_one_hot_partition_among_many_does_not_still_the_others():
    time = FakeTime()
    flow = Flow(time.clock)
    for request in range(200_000):
        if request % flow.limit == 0:
            time.now_ms += 8
        flow.ended(throttled=request % 25 == 0)
    assert flow.limit > FIRST_LIMIT


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_course_gives_the_same_limits(seed):
    assert Target(most_per_s=900 * seed).run(10) == Target(most_per_s=900 * seed).run(10)
