"""What is logged, and that nothing is imported for it before there is anything to log."""

import json
import subprocess
import sys

import pytest

from chalicelib.entry import EVENT_FUNCTIONS, is_event_function

PROGRAM = """
import logging, sys
from chalicelib.logs import log_as_json
log_as_json()
log_as_json()
assert "aws_lambda_powertools" not in sys.modules
logger = logging.getLogger("tablevault")
logger.info("first\\nline \\u00e9", extra={"table": "orders"})
logger.warning("second")
logger.debug("not shown")
"""


def test_every_record_is_one_line_of_ascii_json_also_the_first_one():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True)
    first, second = map(json.loads, done.stdout.splitlines())
    assert done.stdout.isascii()
    assert (first["message"], first["table"], first["level"]) == ("first\nline é", "orders", "INFO")
    assert (second["message"], second["level"], second["service"]) == ("second", "WARNING", "tablevault")


@pytest.mark.parametrize("name", EVENT_FUNCTIONS)
def test_a_function_is_known_by_the_name_that_chalice_gives_it(name):
    assert is_event_function({"AWS_LAMBDA_FUNCTION_NAME": f"tablevault-prod-{name}"})


@pytest.mark.parametrize("environ", [{}, {"AWS_LAMBDA_FUNCTION_NAME": "tablevault-prod"}])
def test_the_api_and_whoever_is_not_in_lambda_have_the_routes(environ):
    assert not is_event_function(environ)
