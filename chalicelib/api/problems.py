"""Answers of the HTTP API: JSON bodies encoded here, errors as application/problem+json (RFC 9457).

Chalice encodes bodies outside of its own error handling, where a failure is a bare 502: so bodies leave here as text.
"""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.api.answers import Problem, ProblemFault
from chalicelib.api.outages import passes
from chalicelib.errors import InvalidRequest, TablevaultError, Unavailable

logger = logging.getLogger("tablevault")

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"

# Every code there is, with its status: what the API's description may name.
STATUS_OF_CODE = {
    "malformed_request": 400,
    "forbidden": 403,
    "backup_not_found": 404,
    "restore_not_found": 404,
    "table_not_in_backup": 404,
    "method_not_allowed": 405,
    "rebuild_not_found": 404,
    "backup_being_removed": 409,
    "backup_exists": 409,
    "backup_not_complete": 409,
    "export_invalid": 409,
    "manifest_invalid": 409,
    "request_in_progress": 409,
    "restore_not_cancellable": 409,
    "restore_not_resumable": 409,
    "restore_not_retryable": 409,
    "target_locked": 409,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "invalid_request": 422,
    "internal_error": 500,
    "ledger_entry_corrupt": 500,
    "selection_failed": 500,
    "tokens_unavailable": 503,
    "try_again": 503,
}

_SHORTEST_TOKEN = 8  # anything shorter is a word, and no secret
# A Lambda function's answer may have 6 MB; one fault takes 3 KB at most.
_MOST_FAULTS = 1000
_INSIDE = "the request failed inside tablevault; the API's log says why"


def answer(body: msgspec.Struct, status: int = 200) -> Response:
    return _response(body, status, JSON)


def problem(error: TablevaultError) -> Response:
    """What the caller can act on. A failure on our side is logged too: the operator sees it without the caller."""
    if error.http_status >= 500:
        logger.error("request failed", exc_info=error, extra={"code": error.code})
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else {}
    if not isinstance(error, InvalidRequest):
        return _response(_document(error.http_status, error.code, error.message), error.http_status, headers=headers)
    shown = [ProblemFault(path=fault.path, message=fault.message) for fault in error.faults[:_MOST_FAULTS]]
    detail = _fault_count(len(error.faults), len(shown))
    document = msgspec.structs.replace(_document(error.http_status, error.code, detail), errors=shown)
    return _response(document, error.http_status)


def unexpected(error: Exception) -> Response:
    """A failure of AWS or a defect: the log has it, with its trace; the caller gets no internals."""
    if passes(error):
        unavailable = Unavailable("AWS is throttling or gave no answer; look whether this took effect, then ask again")
        unavailable.__cause__ = error
        return problem(unavailable)
    logger.error("request failed", exc_info=error, extra={"code": TablevaultError.code})
    return _response(_document(500, TablevaultError.code, _INSIDE), 500)


def of_chalice(response: Response) -> Response:
    """Chalice's own errors, {"Code", "Message"}, as problem documents: a method or media type a route does not take."""
    status, body = response.status_code, response.body
    if not isinstance(body, dict) or status < 400:
        return response
    code, detail = TablevaultError.code, _INSIDE
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        code, detail = "method_not_allowed", f"{body.get('Message')}; allowed here: {response.headers.get('Allow')}"
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        code, detail = "unsupported_media_type", f"{body.get('Message')}; send Content-Type: application/json"
    return _response(_document(status, code, detail), status, headers=response.headers)


def _document(status: int, code: str, detail: str) -> Problem:
    return Problem(
        type=f"urn:tablevault:problem:{code}", title=HTTPStatus(status).phrase, status=status, code=code, detail=detail
    )


def _fault_count(count: int, shown: int) -> str:
    said = "1 fault" if count == 1 else f"{count} faults"
    return f"the request has {said}; nothing was started" + (f"; the first {shown} are named" if shown < count else "")


def _response(
    body: msgspec.Struct, status: int, content_type: str = PROBLEM_JSON, headers: Mapping[str, Any] | None = None
) -> Response:
    # ASCII: what a request named may hold control characters of any script, line separators, or half of a pair.
    text = json.dumps(msgspec.to_builtins(body), separators=(",", ":"))
    return Response(text, status_code=status, headers={**(headers or {}), "Content-Type": content_type})


def without_token(response: Response, authorization: str) -> Response:
    """A refusal repeats the names that are wrong. Where the caller's own token stands among them, pasted into the wrong
    place, it is left out: answers end in logs, tickets and chats."""
    token = authorization.rpartition(" ")[2]
    if response.status_code >= 400 and len(token) >= _SHORTEST_TOKEN and isinstance(response.body, str):
        response.body = response.body.replace(token, "[your token]")
    return response
