"""The whole sandbox as one object: emulator, resources and deployed app, for tests, the demo and `make sandbox`."""

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from sandbox.api import Api, api_file_of
from sandbox.deploy import Deployment
from sandbox.emulator.functions import WORKERS_PATH
from sandbox.emulator_process import EmulatorProcess
from sandbox.errors import SandboxError
from sandbox.isolation import REGION, emulator_client, open_local, remove_aws_config, write_aws_config
from sandbox.resources import create_resources, new_token
from sandbox.stage import Stage, read_stage

REPOSITORY = Path(__file__).resolve().parents[1]
STAGE = "sandbox"


class Sandbox:
    """`with Sandbox() as sandbox:` has an app deployed and ready; nothing of it is left afterwards.

    Arguments: `port` on 127.0.0.1, 0 for a free one. `state_dir` is kept afterwards, with the logs; without it a
    temporary one is used and removed. `aws_config`: where to write a config file for stage `local` while it runs, and
    beside it the API's URL with a token, for commands.
    `bundle`: deploy the wheels of requirements.txt too, as on AWS (see sandbox.deploy).
    """

    def __init__(
        self,
        port: int = 0,
        state_dir: Path | None = None,
        *,
        project_dir: Path = REPOSITORY,
        aws_config: Path | None = None,
        bundle: bool = False,
    ) -> None:
        self.stage: Stage = read_stage(project_dir, STAGE)
        self.endpoint_url = ""
        self.api_url = ""
        self.token = ""
        self._port = port
        self._keep_state = state_dir is not None
        self.state_dir = (state_dir or Path(tempfile.gettempdir()) / f"tablevault-sandbox-{uuid4()}").resolve()
        self.project_dir = project_dir.resolve()
        self._aws_config = aws_config
        self._bundle = bundle
        self._emulator: EmulatorProcess | None = None
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
            self.deploy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the emulator and makes the resources. Raises SandboxError, also for a taken port."""
        self._emulator = EmulatorProcess(self._port, self.state_dir)
        self.endpoint_url = self._emulator.endpoint_url
        self._deployment().forget()
        token = new_token()
        self.token = token.token
        create_resources(self.client, self.stage, [token])
        if self._aws_config:
            api_file_of(self._aws_config).unlink(missing_ok=True)  # of a sandbox that was killed
            write_aws_config(self._aws_config, self.endpoint_url)

    def deploy(self) -> None:
        """Deploys the project as it stands now; may be called again after a change."""
        self.api_url = self._deployment().deploy()
        if self._aws_config:
            self.api.write(api_file_of(self._aws_config))

    def stop(self) -> None:
        """Ends every process of the sandbox; a second call does nothing."""
        if self._emulator is not None:
            self._emulator.stop()
            self._emulator = None
            if self._aws_config:
                remove_aws_config(self._aws_config, self.endpoint_url)
                self.api.remove(api_file_of(self._aws_config))
        if not self._keep_state:
            shutil.rmtree(self.state_dir, ignore_errors=True)

    def wait(self) -> None:
        """Returns when the emulator has ended, which it does not do by itself."""
        self._running().wait()

    def client(self, service: str) -> Any:
        """A boto3 client of the emulator's root user, one per service."""
        if service not in self._clients:
            self._clients[service] = emulator_client(service, self.endpoint_url)
        return self._clients[service]

    @property
    def api(self) -> Api:
        """The deployed API, with the sandbox's own token."""
        return Api(self.api_url, self.token)

    @property
    def emulator_pid(self) -> int:
        return self._running().pid

    def lambda_worker_pids(self, function_name: str, *, busy_only: bool = False) -> list[int]:
        """Process ids of the workers that run a function of app.py; `api_handler` is the API's.

        `busy_only` leaves out those that wait for their next invocation.
        """
        with open_local(self.endpoint_url + WORKERS_PATH, 10) as response:
            workers = json.load(response).get(self.stage.lambda_name(function_name), [])
        return [worker["pid"] for worker in workers if worker["busy"] or not busy_only]

    def fire_schedule(self, function_name: str) -> None:
        """Lets the schedule of a function of app.py come due, and waits until the function has ended.

        Goes through the EventBridge rule as deployed: without a rule that targets the function, or if the
        function fails, SandboxError.
        """
        arn = f"arn:aws:lambda:{REGION}:000000000000:function:{self.stage.lambda_name(function_name)}"
        rules = self.client("events").list_rule_names_by_target(TargetArn=arn)["RuleNames"]
        if not rules:
            raise SandboxError(f"no EventBridge rule targets {function_name}; is it deployed with a schedule?")
        for rule in rules:
            answer = self.client("lambda").invoke(FunctionName=arn, Payload=json.dumps(scheduled_event(rule)).encode())
            if "FunctionError" in answer:
                reason = answer["Payload"].read().decode(errors="replace")
                raise SandboxError(f"{function_name} failed when its schedule fired: {reason}")

    def logs(self, function_name: str) -> list[str]:
        """What a function of app.py has logged, oldest first."""
        logs = self.client("logs")
        group = f"/aws/lambda/{self.stage.lambda_name(function_name)}"
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
            events = [event for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []  # a function that has never run has no log group
        return [event["message"] for event in sorted(events, key=lambda event: event["timestamp"])]

    def _running(self) -> EmulatorProcess:
        if self._emulator is None:
            raise SandboxError("the sandbox is not running")
        return self._emulator

    def _deployment(self) -> Deployment:
        return Deployment(
            self.project_dir, self.stage.name, self.state_dir / "app", self.endpoint_url, bundle=self._bundle
        )


def scheduled_event(rule_name: str) -> dict[str, Any]:
    """The event EventBridge sends a rule's target when its schedule comes due."""
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "000000000000",
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:000000000000:rule/{rule_name}"],
        "detail": {},
    }


def default_state_dir(name: int | str) -> Path:
    """Where `make sandbox` keeps logs and Chalice's cache: outside the repository.

    `chalice local` restarts at every change of any file in the project's directory.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tablevault" / f"sandbox-{name}"
