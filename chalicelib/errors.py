"""The whole error tree. Each class knows its stable code, its HTTP status and whether trying again can help.

TablevaultError
  SettingsInvalid          a setting is missing or wrong; names every fault at once
  SelectionFailed          which tables to back up cannot be told, or there are none
  RetentionIncomplete      what should go could not be removed, and will not go by itself
  InvalidRequest           422, every fault of a request at once
  Forbidden                403
  NotFound                 404, says what exists
  Conflict                 409: the state does not allow it now
  Unavailable              503, retryable
    TokensUnavailable      ... the tokens cannot be read, so nobody can be let in
  LedgerEntryCorrupt       500: a ledger row that cannot be read
    LedgerRowsLost         ... rows of a restore are gone: it cannot come to its end
  ManifestInvalid          a manifest that cannot be trusted or is of a newer schema
  ExportInvalid            an export whose files contradict each other or their checksums
    ExportNotReadable      ... not yet: an object is still missing; retryable
  DataFileDamaged          a data file is missing, changed or truncated
  TargetUnavailable        the target table as a whole refuses (gone, denied)
  OutOfTime                the invocation's deadline is too near; retryable
"""

from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong with a request or a setting: where (`path`), and what is allowed (`message`)."""

    path: str
    message: str


class TablevaultError(Exception):
    code: str = "internal_error"
    http_status: int = 500
    retryable: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _WithFaults(TablevaultError):
    summary = ""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.summary + "; ".join(f"{fault.path}: {fault.message}" for fault in faults))


class SettingsInvalid(_WithFaults):
    code = "settings_invalid"
    summary = "settings: "


class SelectionFailed(TablevaultError):
    code = "selection_failed"


class RetentionIncomplete(_WithFaults):
    """A fault's path is the set or the backup that stays."""

    code = "retention_incomplete"
    summary = "retention could not remove everything that should go: "


class InvalidRequest(_WithFaults):
    code = "invalid_request"
    http_status = 422


class Forbidden(TablevaultError):
    code = "forbidden"
    http_status = 403


class NotFound(TablevaultError):
    http_status = 404

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Conflict(TablevaultError):
    http_status = 409

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(TablevaultError):
    """`retry_after_s`: the seconds to wait that the answer names."""

    code = "try_again"
    http_status = 503
    retryable = True
    retry_after_s = 5


class TokensUnavailable(Unavailable):
    code = "tokens_unavailable"
    # As long as API Gateway keeps what the authorizer said.
    retry_after_s = 60


class LedgerEntryCorrupt(TablevaultError):
    code = "ledger_entry_corrupt"


class LedgerRowsLost(LedgerEntryCorrupt):
    code = "ledger_rows_lost"


class ManifestInvalid(TablevaultError):
    code = "manifest_invalid"
    http_status = 409


class ExportInvalid(TablevaultError):
    code = "export_invalid"
    http_status = 409


class ExportNotReadable(ExportInvalid):
    code = "export_not_readable"
    retryable = True


class DataFileDamaged(TablevaultError):
    code = "data_file_damaged"

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"data file {key}: {reason}")
        self.key = key
        self.reason = reason


class TargetUnavailable(TablevaultError):
    code = "target_unavailable"


class OutOfTime(TablevaultError):
    code = "out_of_time"
    retryable = True
