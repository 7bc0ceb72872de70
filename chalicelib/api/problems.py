"""Answers of the HTTP API: JSON bodies encoded here, errors as application/problem+json (RFC 9457).

Chalice encodes bodies outside of its own error handling, where a failure is a bare 502: so bodies leave here as text.
"""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.errors import InvalidRequest, TablevaultError

logger = logging.getLogger("tablevault")

# A Lambda function's answer may have 6 MB; one fault takes 3 KB at most.
_MOST_FAULTS = 1000


def answer(body: Any, status: int = 200) -> Response:
    return _response(body, status, "application/json")


def problem(error: TablevaultError) -> Response:
    """What the caller can act on. A failure on our side is logged too: the operator sees it without the caller."""
    if error.http_status >= 500:
        logger.error("request failed", exc_info=error, extra={"code": error.code})
    document = _document(error.http_status, error.code, error.message)
    if isinstance(error, InvalidRequest):
        shown = error.faults[:_MOST_FAULTS]
        document["detail"] = _fault_count(len(error.faults), len(shown))
        document["errors"] = [{"path": fault.path, "message": fault.message} for fault in shown]
    return _response(document, error.http_status, "application/problem+json")


def unexpected(error: Exception) -> Response:
    """A defect or an AWS failure: the log has it, with its trace; the caller gets no internals."""
    logger.error("request failed", exc_info=error, extra={"code": TablevaultError.code})
    document = _document(500, TablevaultError.code, "the request failed inside tablevault; the API's log says why")
    return _response(document, 500, "application/problem+json")


def of_chalice(response: Response) -> Response:
    """Chalice's own errors, {"Code", "Message"}, as problem documents: a method or media type a route does not take."""
    status, body = response.status_code, response.body
    if not isinstance(body, dict) or status < 400:
        return response
    code, detail = "internal_error", "the request failed inside tablevault; the API's log says why"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        code, detail = "method_not_allowed", f"{body.get('Message')}; allowed here: {response.headers.get('Allow')}"
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        code, detail = "unsupported_media_type", f"{body.get('Message')}; send Content-Type: application/json"
    return _response(_document(status, code, detail), status, "application/problem+json", response.headers)


def _document(status: int, code: str, detail: str) -> dict[str, Any]:
    return {
        "type": f"urn:tablevault:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }


def _fault_count(count: int, shown: int) -> str:
    said = "1 fault" if count == 1 else f"{count} faults"
    return f"the request has {said}; nothing was started" + (f"; the first {shown} are named" if shown < count else "")


def _response(body: Any, status: int, content_type: str, headers: Mapping[str, Any] | None = None) -> Response:
    text = msgspec.json.encode(body).decode()
    return Response(text, status_code=status, headers={**(headers or {}), "Content-Type": content_type})
