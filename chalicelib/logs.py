"""Logs as JSON, one record a line, in ASCII: no text in a record can end the line or steer a terminal.

What writes them costs tens of milliseconds to import, which a cold start would pay before there is anything to log:
it is imported with the first record.
"""

import json
import logging
from functools import partial

NAME = "tablevault"


class _FirstRecord(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from aws_lambda_powertools import Logger

        logger = logging.getLogger(NAME)
        logger.removeHandler(self)
        Logger(service=NAME, json_serializer=partial(json.dumps, default=str, separators=(",", ":")))
        logger.handle(record)


def log_as_json() -> None:
    """Every module logs to the logger `tablevault`."""
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        logger.addHandler(_FirstRecord())
