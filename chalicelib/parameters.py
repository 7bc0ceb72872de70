"""Settings from Parameter Store: what the environment lacks, from the folder that SSM_PARAMETER_PATH names.

The folder is shared. What is not ours in it is ignored, and never decrypted: it may be somebody's secret, and a single
one under a KMS key that is not for us would keep the whole folder from us. So the folder is listed as it stands, and
only those SecureStrings that are settings are asked for in plain.

Imported only where SSM_PARAMETER_PATH is set: no other cold start pays for it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)

from chalicelib.aws import DENIED, Client, error_code, error_text, is_transient
from chalicelib.errors import Fault, SettingsInvalid, Unavailable
from chalicelib.retry import Backoff
from chalicelib.selection import TABLE_NAME
from chalicelib.settings import Origins, Settings, read_settings

# The variables of chalicelib/settings.py, and what else people call them in Parameter Store.
_OTHER_NAMES = {
    "BACKUP_BUCKET": "BACKUP_BUCKET_NAME",
    "BACKUP_DAY": "BACKUP_DAY_STR",
    "BACKUP_HOUR": "BACKUP_HOUR_STR",
    "BACKUP_MINUTE": "BACKUP_MINUTE_STR",
    "BACKUP_SECOND": "BACKUP_SECOND_STR",
    "LEDGER_TABLE": "LEDGER_TABLE_NAME",
}
VARIABLES = _OTHER_NAMES.keys() | {
    "API_TOKENS_PARAMETER",
    "BACKUP_BUCKET_OWNER",
    "BACKUP_SCHEDULE",
    "BACKUP_TIMEZONE",
    "DYNAMODB_PRICES",
    "DYNAMODB_TABLES",
    "ENVIRONMENT",
    "EXPORT_FORMAT",
    "EXPORT_STRATEGY",
    "FULL_EXPORT_DAY",
    "ENABLE_PITR",
    "EVENT_BUS",
    "LONGEST_BACKUP_AGE_HOURS",
    "NOTIFICATION_TOPIC",
    "ON_DEMAND_BACKUPS",
    "ON_DEMAND_RETENTION_DAYS",
    "OVERDUE_AFTER_HOURS",
    "PRUNE_SCHEDULE",
    "RESTORE_DEAD_LETTER_QUEUE",
    "RESTORE_MAX_CONCURRENCY",
    "RESTORE_QUEUE",
    "RETENTION_DAILY",
    "RETENTION_DAYS",
    "RETENTION_MINIMUM",
    "RETENTION_MONTHLY",
    "RETENTION_WEEKLY",
    "RETENTION_YEARLY",
    "SAFETY_BACKUP_RETENTION_DAYS",
    "S3_EXPORTS_PREFIX",
    "S3_SSE_KMS_KEY_ID",
}
_VARIABLE_BY_OTHER_NAME = {other: variable for variable, other in _OTHER_NAMES.items()}
_TABLES = "DYNAMODB_TABLES"
_OF_A_TABLE = "_TABLE_NAME"
# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
_PATH = re.compile(r"(/[A-Za-z0-9_.-]+){1,14}\Z")
# The most that GetParametersByPath and GetParameters take:
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
_PAGE = 10
# No answer, or half of one. The other BotoCoreErrors want somebody to act: no credentials, no region.
_NO_ANSWER = (ConnectionError, CredentialRetrievalError, HTTPClientError, IncompleteReadError)


class Parameter(NamedTuple):
    """`name` is the full one. `value` of a SecureString that is still sealed is its ciphertext."""

    name: str
    value: str
    is_secret: bool = False

    @property
    def variable(self) -> str | None:
        """The variable it speaks of; None where it is not ours."""
        if self.is_of_a_table:
            return _TABLES
        name = _VARIABLE_BY_OTHER_NAME.get(self._last, self._last)
        return name if name in VARIABLES else None

    @property
    def is_of_a_table(self) -> bool:
        """Whether it names a table to back up. LEDGER_TABLE_NAME does not: it names our ledger."""
        return self._last.endswith(_OF_A_TABLE) and self._last not in _VARIABLE_BY_OTHER_NAME

    @property
    def shown(self) -> str:
        return "a SecureString (not shown)" if self.is_secret else repr(self.value.strip())

    @property
    def _last(self) -> str:
        return self.name.rpartition("/")[2]


class Merged(NamedTuple):
    """The environment with parameters in place of what is not set there; for faults, where values are from."""

    environ: Mapping[str, str]
    origins: Origins
    faults: Sequence[Fault]


def load(environ: Mapping[str, str], ssm: Callable[[], Client], backoff: Backoff) -> Settings:
    """Settings of an environment in which SSM_PARAMETER_PATH is set. `ssm` gives the client.

    Raises SettingsInvalid where somebody must act (a wrong or missing value, no permission), and Unavailable where
    Parameter Store cannot be read now: that says nothing of what stands there.
    """
    path = parameter_path(environ)
    parameters = ParameterStore(ssm, path, backoff).read(lambda each: _is_left_to(each, environ))
    return settings_of(environ, path, parameters)


def parameter_path(environ: Mapping[str, str]) -> str:
    """Without a slash at its end: to IAM, `/a/b/` is another resource than `/a/b`. Raises SettingsInvalid."""
    text = environ["SSM_PARAMETER_PATH"].strip()
    path = text.removesuffix("/")
    if not _PATH.match(path):
        allowed = "a path of up to 14 levels of a-z A-Z 0-9 _ . -, such as /test/stg/infra"
        raise SettingsInvalid([Fault("SSM_PARAMETER_PATH", f"is {text!r}; allowed: {allowed}")])
    return path


# --- parameters in place of variables -------------------------------------------------------------------------------


def settings_of(environ: Mapping[str, str], path: str, parameters: Sequence[Parameter]) -> Settings:
    """Raises SettingsInvalid with every fault of every variable, each with where its value came from."""
    merged = merge(environ, path, parameters)
    faults = list(merged.faults)
    try:
        settings = read_settings(merged.environ, merged.origins)
    except SettingsInvalid as error:
        known = {fault.path for fault in faults}
        raise SettingsInvalid([*faults, *(fault for fault in error.faults if fault.path not in known)]) from None
    if faults:
        raise SettingsInvalid(faults)
    return settings


def merge(environ: Mapping[str, str], path: str, parameters: Sequence[Parameter]) -> Merged:
    """What the environment sets wins, and parameters that say otherwise are no fault; blank is not set."""
    merged = dict(environ)
    places = {variable: "the environment variable" for variable in VARIABLES if _is_set(environ, variable)}
    secret: set[str] = set()
    faults: list[Fault] = []
    # DYNAMODB_TABLES last: which table is the ledger is known then.
    for variable in sorted(VARIABLES - places.keys(), key=lambda each: (each == _TABLES, each)):
        found = _find(variable, sorted(parameters), merged.get("LEDGER_TABLE", ""))
        if found is not None:
            merged[variable], places[variable] = found.value, found.place
            faults += (Fault(variable, fault) for fault in found.faults)
            secret |= {variable} if found.is_secret else set()
    missing = {variable: _missing(variable, path, parameters) for variable in VARIABLES - places.keys()}
    return Merged(merged, Origins(places, frozenset(secret), missing), faults)


class _Found(NamedTuple):
    value: str
    place: str
    is_secret: bool
    faults: tuple[str, ...]


def _find(variable: str, parameters: Sequence[Parameter], ledger_table: str) -> _Found | None:
    speaking = [each for each in parameters if each.variable == variable and each.value.strip()]
    by_name = [each for each in speaking if not each.is_of_a_table]
    if by_name:
        return _Found(by_name[0].value, f"parameter {by_name[0].name}", by_name[0].is_secret, _contradiction(by_name))
    # The ledger needs no backup, by whatever name it stands in the folder.
    tables = [each for each in speaking if each.value.strip() != ledger_table.strip()]
    return _backed_up(tables) if tables else None


def _backed_up(tables: Sequence[Parameter]) -> _Found:
    """Each table once. A pattern or an exclusion, which DYNAMODB_TABLES may have, is no table's name."""
    allowed = "the name of a DynamoDB table; set DYNAMODB_TABLES where not every *_TABLE_NAME is one"
    wrong = [each for each in tables if not TABLE_NAME.match(each.value.strip())]
    return _Found(
        value=json.dumps(list(dict.fromkeys(each.value.strip() for each in tables))),
        place=("parameter " if len(tables) == 1 else "parameters ") + ", ".join(each.name for each in tables),
        is_secret=any(each.is_secret for each in tables),
        faults=tuple(f"parameter {each.name} is {each.shown}; allowed: {allowed}" for each in wrong),
    )


def _contradiction(by_name: Sequence[Parameter]) -> tuple[str, ...]:
    if len({each.value.strip() for each in by_name}) == 1:
        return ()
    said = " and ".join(f"parameter {each.name} is {each.shown}" for each in by_name)
    return (f"has two values: {said}; allowed: one of the two parameters, or the same value in both",)


def _missing(variable: str, path: str, parameters: Sequence[Parameter]) -> str:
    other = f"*{_OF_A_TABLE}" if variable == _TABLES else _OTHER_NAMES.get(variable)
    names = " or ".join(f"{path}/{name}" for name in (variable, other) if name)
    known = sum(each.variable is not None for each in parameters)
    return (
        f"is required and not set: neither in the environment nor as parameter {names}"
        f" (under {path}, {known} of {len(parameters)} parameters are tablevault's)"
    )


def _is_set(environ: Mapping[str, str], variable: str) -> bool:
    return bool(environ.get(variable, "").strip())


def _is_left_to(parameter: Parameter, environ: Mapping[str, str]) -> bool:
    return parameter.variable is not None and not _is_set(environ, parameter.variable)


# --- Parameter Store ------------------------------------------------------------------------------------------------


class ParameterStore(NamedTuple):
    """One folder of it. Whoever is throttled asks again until the backoff's deadline.

    Hundreds of workers may start at once, and Parameter Store takes 40 requests a second from an account unless more
    are paid for: https://docs.aws.amazon.com/general/latest/gr/ssm.html
    """

    ssm: Callable[[], Client]
    path: str
    backoff: Backoff

    def read(self, is_wanted: Callable[[Parameter], bool]) -> list[Parameter]:
        """All parameters right under the path; of the SecureStrings only those that are wanted are decrypted.

        Raises SettingsInvalid and Unavailable as `load` does.
        """
        listed = list(self._list())
        sealed = [each.name for each in listed if each.is_secret and is_wanted(each)]
        opened = dict(self._open(sealed))
        # What was deleted meanwhile is not there.
        kept = [each for each in listed if each.name not in sealed or each.name in opened]
        return [each._replace(value=opened.get(each.name, each.value)) for each in kept]

    def _list(self) -> Iterator[Parameter]:
        """Not what is further below: `/test/stg/infra/other/RESTORE_QUEUE` may be anybody's."""
        request = {"Path": self.path, "Recursive": False, "WithDecryption": False, "MaxResults": _PAGE}
        needed = f"ssm:GetParametersByPath on parameter{self.path}"
        while True:
            page = self._call("get_parameters_by_path", needed, request)
            for each in page.get("Parameters", []):
                yield Parameter(each["Name"], each["Value"], each["Type"] == "SecureString")
            if not page.get("NextToken"):
                return
            request["NextToken"] = page["NextToken"]

    def _open(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        needed = f"ssm:GetParameters on parameter{self.path}/*, and kms:Decrypt where a SecureString's key is your own"
        for first in range(0, len(names), _PAGE):
            request = {"Names": names[first : first + _PAGE], "WithDecryption": True}
            for each in self._call("get_parameters", needed, request)["Parameters"]:
                yield each["Name"], each["Value"]

    def _call(self, operation: str, needed: str, request: Mapping[str, Any]) -> dict[str, Any]:
        retry = 0
        while True:
            try:
                answer: dict[str, Any] = getattr(self.ssm(), operation)(**request)
                return answer
            except _NO_ANSWER as error:
                raise self._unavailable(type(error).__name__) from error
            except BotoCoreError as error:
                raise self._invalid(f"which cannot be read: {error}") from error
            except ClientError as error:
                if not is_transient(error):
                    raise self._refused(error, needed) from error
                if not self.backoff.wait(retry):
                    raise self._unavailable(error_code(error)) from error
            retry += 1

    def _refused(self, error: ClientError, needed: str) -> SettingsInvalid:
        if error_code(error) in DENIED:
            who = "the function's role, and whoever deploys, needs"
            return self._invalid(f"which may not be read: {who} {needed}; AWS says: {error_text(error)}")
        return self._invalid(f"which cannot be read: {error_text(error)}")

    def _invalid(self, why: str) -> SettingsInvalid:
        return SettingsInvalid([Fault("SSM_PARAMETER_PATH", f"is {self.path!r}, {why}")])

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"the settings under {self.path} cannot be read from Parameter Store now ({reason})")
