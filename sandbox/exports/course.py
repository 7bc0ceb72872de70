"""How an export goes when it is asked not to go well: slowly, into a failure, without its event, or without an end."""

from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from sandbox.exports.requests import FailureOnRequest

Pause = Callable[[float | None], None]
Mute = Callable[[str], None]


class Outcome(StrEnum):
    """`NO_EVENT`: DescribeExport says COMPLETED, and the summary stands in the bucket, but S3 tells nobody of it.
    `NEVER_ENDS`: DescribeExport says IN_PROGRESS for ever."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    NO_EVENT = "NO_EVENT"
    NEVER_ENDS = "NEVER_ENDS"


class Course(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It takes `seconds`, beyond the writing, before it comes to its outcome; until then all its data but the last file
    stand in the bucket, of one that fails half of them. A failure says the code and the message.

    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ExportDescription.html
    """

    outcome: Outcome = Outcome.COMPLETED
    seconds: float = 0.0
    failure_code: str = "InternalServerError"
    failure_message: str = "Internal server error"


class Courses:
    """What is in store for a table's next exports, first in, first out; one for which nothing is goes well."""

    def __init__(self) -> None:
        self._courses: dict[str, deque[Course]] = {}

    def add(self, table_name: str, courses: Iterable[Course]) -> None:
        self._courses.setdefault(table_name, deque()).extend(courses)

    def take(self, table_name: str) -> Course:
        courses = self._courses.get(table_name)
        return courses.popleft() if courses else Course()


class Steering:
    """Leads one export along its course: called with the key of each object before it is written.

    `pause` returns after so many seconds, for None never; `mute` keeps S3 from telling of an object's arrival.
    """

    def __init__(self, course: Course, *, data_files: int, pause: Pause, mute: Mute) -> None:
        self._course = course
        is_failing = course.outcome is Outcome.FAILED
        self._data_files_left = data_files // 2 if is_failing else data_files - 1
        self._pause = pause
        self._mute = mute

    def __call__(self, key: str) -> None:
        if key.endswith(".json.gz"):
            if self._data_files_left == 0:
                self._come_to_the_outcome()
            self._data_files_left -= 1
        elif key.endswith("/manifest-summary.json") and self._course.outcome is Outcome.NO_EVENT:
            self._mute(key)

    def _come_to_the_outcome(self) -> None:
        course = self._course
        if course.seconds > 0:
            self._pause(course.seconds)
        if course.outcome is Outcome.FAILED:
            raise FailureOnRequest(course.failure_code, course.failure_message)
        if course.outcome is Outcome.NEVER_ENDS:
            self._pause(None)
