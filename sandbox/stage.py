"""One stage of `.chalice/config.json`, as the sandbox needs it: the names of what the app expects to find.

The names stand in the stage's environment variables alone; the resources are made from here, so the two cannot
differ.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHALICE_DEFAULT_TIMEOUT_S = 60
# AWS Lambda guide, "Using Lambda with Amazon SQS": at least six times the function's timeout.
_VISIBILITY_FACTOR = 6


@dataclass(frozen=True)
class Stage:
    name: str
    app_name: str
    environment: Mapping[str, str]
    timeout_s_by_function: Mapping[str, int]

    @property
    def backup_bucket(self) -> str:
        return self.environment["BACKUP_BUCKET"]

    @property
    def ledger_table(self) -> str:
        return self.environment["LEDGER_TABLE"]

    @property
    def restore_queue(self) -> str:
        return self.environment["RESTORE_QUEUE"]

    @property
    def restore_dead_letter_queue(self) -> str:
        return self.environment["RESTORE_DEAD_LETTER_QUEUE"]

    @property
    def api_tokens_parameter(self) -> str:
        return self.environment["API_TOKENS_PARAMETER"]

    def lambda_name(self, function_name: str) -> str:
        """The deployed name of a function, as Chalice builds it; `api_handler` is the API's."""
        base = f"{self.app_name}-{self.name}"
        return base if function_name == "api_handler" else f"{base}-{function_name}"

    def visibility_timeout_s(self, function_name: str) -> int:
        """The visibility timeout of the queue that feeds a function."""
        return _VISIBILITY_FACTOR * self.timeout_s_by_function.get(function_name, _CHALICE_DEFAULT_TIMEOUT_S)


def read_stage(project_dir: Path, name: str) -> Stage:
    """Reads a stage; the stage's own values go before the top level's, as in Chalice."""
    config: dict[str, Any] = json.loads((project_dir / ".chalice" / "config.json").read_text())
    stage: dict[str, Any] = config["stages"][name]
    functions = [config.get("lambda_functions", {}), stage.get("lambda_functions", {})]
    return Stage(
        name=name,
        app_name=config["app_name"],
        environment={**config.get("environment_variables", {}), **stage.get("environment_variables", {})},
        timeout_s_by_function={
            function: values["lambda_timeout"]
            for by_function in functions
            for function, values in by_function.items()
            if "lambda_timeout" in values
        },
    )
