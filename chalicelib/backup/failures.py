"""What an error of AWS means for one table's export: it failed for good, or may go better later."""

import re

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import DENIED, error_code, error_text, is_transient
from chalicelib.backup.plan import Failure, recovery_is_off

# What ends by itself: too many exports at once (AWS allows 300), and credentials that are about to be renewed.
_PASSES = frozenset({"LimitExceededException", "ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_NO_TABLE = frozenset({"ResourceNotFoundException", "ResourceNotFound", "TableNotFoundException"})
AwsError = (ClientError, BotoCoreError)
# Of exports that DynamoDB accepted and that FAILED later. Codes and texts are not published; seen or described are
# S3NoSuchBucket, and "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; ...)".
_PERMANENT = re.compile(
    r"NoSuchBucket|AccessDenied|Access Denied|Status Code: 403|Forbidden|KMS|InvalidBucket|AllAccessDisabled"
    r"|PointInTimeRecovery|(Table|Resource)NotFound",
    re.IGNORECASE,
)


def may_pass(error: ClientError | BotoCoreError) -> bool:
    """Whether the same call may succeed later. A call that got no answer at all counts as one."""
    if isinstance(error, BotoCoreError):
        return True
    return is_transient(error) or error_code(error) in _PASSES


def is_permanent(code: str, message: str) -> bool:
    """Whether an export that FAILED would fail the same way again, until somebody changes something."""
    return _PERMANENT.search(f"{code} {message}") is not None


def text_of(error: ClientError | BotoCoreError) -> str:
    return error_text(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"


def code_of(error: ClientError | BotoCoreError) -> str:
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__


def failure_of(table_name: str, error: ClientError) -> Failure:
    """A failure for good, with what the operator can do about it."""
    code = error_code(error)
    if code == "PointInTimeRecoveryUnavailableException":
        return recovery_is_off(table_name)
    if code in _NO_TABLE:
        hint = "correct DYNAMODB_TABLES, or create it"
        return Failure(
            "TableNotFoundException", f"table {table_name} does not exist in this account and region: {hint}"
        )
    if code in DENIED:
        call = f"{error.operation_name} for table {table_name}"
        return Failure(code, f"no permission for {call}: {error_text(error)}; grant it to this function's role")
    return Failure(code, f"{error.operation_name} for table {table_name} was refused: {error_text(error)}")
