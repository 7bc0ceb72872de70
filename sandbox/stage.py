"""One stage of `.chalice/config.json`, as the sandbox needs it: the names of what the app expects to find.

The names stand in the stage's environment variables, or are the app's own defaults; the resources are made from here,
so the two cannot differ.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from chalicelib.errors import SettingsInvalid
from chalicelib.settings import Settings, read_settings
from sandbox.errors import SandboxError

_CHALICE_DEFAULT_TIMEOUT_S = 60
# AWS Lambda guide, "Using Lambda with Amazon SQS": at least six times the function's timeout.
_VISIBILITY_FACTOR = 6
_NO_PARAMETERS = "; nothing is under SSM_PARAMETER_PATH in a sandbox: name the stage's resources in its own variables"


@dataclass(frozen=True)
class Stage:
    name: str
    app_name: str
    environment: Mapping[str, str]
    timeout_s_by_function: Mapping[str, int]

    @cached_property
    def settings(self) -> Settings:
        """As the app reads them, with its defaults; what names no resource may be missing here. Raises SandboxError.

        Without Parameter Store: the sandbox's own is empty before the app is deployed into it.
        """
        try:
            return read_settings({"ENVIRONMENT": self.name, "DYNAMODB_TABLES": '["none"]', **self.environment})
        except SettingsInvalid as error:
            hint = _NO_PARAMETERS if self.environment.get("SSM_PARAMETER_PATH") else ""
            raise SandboxError(f"stage {self.name} of .chalice/config.json: {error.message}{hint}") from error

    @property
    def backup_bucket(self) -> str:
        return self.settings.backup_bucket

    @property
    def ledger_table(self) -> str:
        return self.settings.ledger_table

    @property
    def restore_queue(self) -> str:
        return self.settings.restore_queue

    @property
    def restore_dead_letter_queue(self) -> str:
        return self.settings.restore_dead_letter_queue

    @property
    def notification_topic(self) -> str | None:
        """Its ARN."""
        return self.settings.telling.topic

    @property
    def api_tokens_parameter(self) -> str:
        return self.settings.api_tokens_parameter

    def lambda_name(self, function_name: str) -> str:
        """The deployed name of a function, as Chalice builds it; `api_handler` is the API's."""
        base = f"{self.app_name}-{self.name}"
        return base if function_name == "api_handler" else f"{base}-{function_name}"

    def visibility_timeout_s(self, function_name: str) -> int:
        """The visibility timeout of the queue that feeds a function."""
        return _VISIBILITY_FACTOR * self.timeout_s_by_function.get(function_name, _CHALICE_DEFAULT_TIMEOUT_S)


def read_stage(project_dir: Path, name: str) -> Stage:
    """Reads a stage; the stage's own values go before the top level's, as in Chalice. Raises SandboxError."""
    path = project_dir / ".chalice" / "config.json"
    if not path.is_file():
        raise SandboxError(f"{path} is not there: {project_dir} is no Chalice project")
    config: dict[str, Any] = json.loads(path.read_text())
    if name not in config.get("stages", {}):
        raise SandboxError(f"{path} has no stage {name}")
    stage: dict[str, Any] = config["stages"][name]
    environment = {**config.get("environment_variables", {}), **stage.get("environment_variables", {})}
    functions = [config.get("lambda_functions", {}), stage.get("lambda_functions", {})]
    return Stage(
        name=name,
        app_name=config["app_name"],
        environment=environment,
        timeout_s_by_function={
            function: values["lambda_timeout"]
            for by_function in functions
            for function, values in by_function.items()
            if "lambda_timeout" in values
        },
    )
