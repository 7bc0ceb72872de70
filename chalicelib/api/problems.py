"""Answers of the HTTP API: JSON bodies encoded here, errors as application/problem+json (RFC 9457).

Chalice encodes bodies outside of its own error handling, where a failure is a bare 502: so bodies leave here as bytes.
"""

import logging
from http import HTTPStatus
from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.errors import InvalidRequest, TablevaultError

logger = logging.getLogger("tablevault")


class Malformed(TablevaultError):
    """400: the request cannot be understood at all."""

    code = "malformed_request"
    http_status = 400


def answer(body: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(body).decode(), status_code=status, headers={"Content-Type": "application/json"}
    )


def problem(error: TablevaultError) -> Response:
    body: dict[str, Any] = {
        "type": f"urn:tablevault:problem:{error.code}",
        "title": HTTPStatus(error.http_status).phrase,
        "status": error.http_status,
        "code": error.code,
        "detail": error.message,
    }
    if isinstance(error, InvalidRequest):
        body["detail"] = f"{len(error.faults)} of the request's values are wrong; nothing was started"
        body["errors"] = [{"path": fault.path, "message": fault.message} for fault in error.faults]
    return _response(body, error.http_status, "application/problem+json")


def unexpected(error: Exception) -> Response:
    """A defect or an AWS failure: the log has it, with its trace; the caller gets no internals."""
    logger.error("request failed", exc_info=error)
    mishap = TablevaultError("the request failed inside tablevault; the API function's log says why")
    return problem(mishap)


def _response(body: Any, status: int, content_type: str) -> Response:
    return Response(msgspec.json.encode(body).decode(), status_code=status, headers={"Content-Type": content_type})
