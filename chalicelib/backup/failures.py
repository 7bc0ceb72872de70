"""What an error of AWS means for one table's export: it failed for good, or may go better later."""

import re

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws import DENIED, error_code, error_text, is_transient
from chalicelib.backup.plan import Failure, recovery_is_off

# What ends by itself: too many exports at once (AWS allows 300), and credentials that are about to be renewed.
_PASSES = frozenset({"LimitExceededException", "ExpiredToken", "ExpiredTokenException", "RequestExpired"})
NO_TABLE = frozenset({"ResourceNotFoundException", "ResourceNotFound", "TableNotFoundException"})
AwsError = (ClientError, BotoCoreError)
# Of exports that DynamoDB accepted and that FAILED later. Codes and texts are not published; seen or described are
# S3NoSuchBucket, and "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied; ...)".
_PERMANENT = re.compile(
    r"NoSuchBucket|AccessDenied|Access Denied|Status Code: 403|Forbidden|KMS|InvalidBucket|AllAccessDisabled"
    r"|PointInTimeRecovery|(Table|Resource)NotFound",
    re.IGNORECASE,
)
# S3 names KMS' error in its own code (KMS.DisabledException), or the action that is denied (kms:GenerateDataKey).
_OF_THE_KEY = re.compile(r"\bKMS\b|kms:")
_OF_THE_KEY_PASSES = re.compile(r"^KMS\.?\w*(Throttl|Internal|Timeout|LimitExceeded)")
_DENIED = re.compile(r"Access ?Denied|Forbidden|403|not authorized", re.IGNORECASE)
_OF_THE_BUCKET = re.compile(r"bucket|Amazon S3|\bs3:", re.IGNORECASE)


def may_pass(error: ClientError | BotoCoreError) -> bool:
    """Whether the same call may succeed later. A call that got no answer at all counts as one."""
    if isinstance(error, BotoCoreError):
        return True
    code = error_code(error)
    return is_transient(error) or code in _PASSES or _OF_THE_KEY_PASSES.match(code) is not None


def is_permanent(code: str, message: str) -> bool:
    """Whether an export that FAILED would fail the same way again, until somebody changes something."""
    return _PERMANENT.search(f"{code} {message}") is not None


def text_of(error: ClientError | BotoCoreError) -> str:
    return error_text(error) if isinstance(error, ClientError) else f"{type(error).__name__}: {error}"


def code_of(error: ClientError | BotoCoreError) -> str:
    return error_code(error) if isinstance(error, ClientError) else type(error).__name__


def advice(code: str, message: str, kms_key_id: str | None = None) -> str | None:
    """What the operator can do about an error of the key or the bucket. An export is written as whoever starts it
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport_Requesting.html)."""
    text = f"{code} {message}"
    if _OF_THE_KEY.search(text):
        return (
            f"the key {kms_key_id or 'of the bucket'} cannot be used: grant kms:GenerateDataKey and kms:Decrypt to "
            "this function's role, in its policy and in the key's, and see that the key is enabled and in the "
            "bucket's region; S3_SSE_KMS_KEY_ID says which key it is"
        )
    if _DENIED.search(text) and _OF_THE_BUCKET.search(text):
        return (
            "let this function's role put objects there (s3:PutObject, s3:PutObjectAcl, s3:AbortMultipartUpload); "
            "where it is another account's, its policy must do so, too, and BACKUP_BUCKET_OWNER must name the account"
        )
    return None


def explained(code: str, message: str, kms_key_id: str | None = None) -> str:
    """What DynamoDB said of an export that FAILED, with our advice where there is some."""
    return "; ".join(filter(None, (message, advice(code, message, kms_key_id))))


def explained_error(error: ClientError, kms_key_id: str | None = None, default: str | None = None) -> str:
    """What an error says, with our advice, or `default` where there is none."""
    service = "s3:" if error.operation_name == "PutObject" else ""  # S3 itself says no more than "Access Denied"
    hint = advice(error_code(error), f"{service}{error_text(error)}", kms_key_id)
    return "; ".join(filter(None, (error_text(error), hint or default)))


def failure_of(table_name: str, error: ClientError, kms_key_id: str | None = None) -> Failure:
    """A failure for good, with what the operator can do about it. `kms_key_id`: of what was to be written."""
    code = error_code(error)
    if code == "PointInTimeRecoveryUnavailableException":
        return recovery_is_off(table_name)
    if code in NO_TABLE:
        hint = "correct DYNAMODB_TABLES, or create it"
        return Failure(
            "TableNotFoundException", f"table {table_name} does not exist in this account and region: {hint}"
        )
    if code in DENIED:
        call = f"{error.operation_name} for table {table_name}"
        text = explained_error(error, kms_key_id, "grant it to this function's role")
        return Failure(code, f"no permission for {call}: {text}")
    text = explained_error(error, kms_key_id)
    return Failure(code, f"{error.operation_name} for table {table_name} was refused: {text}")
