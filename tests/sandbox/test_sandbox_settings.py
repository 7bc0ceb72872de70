"""The sandbox's stage, its isolation from the user's account, and the shortened waiters."""

import json
import os
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest

from sandbox.isolation import LOCAL_STAGE_PROFILE, emulator_client, isolated_environment, write_aws_config
from sandbox.resources import LEDGER_DEFINITION, new_token
from sandbox.stage import read_stage

_REPOSITORY = Path(__file__).resolve().parents[2]
_CONFIG = json.loads((_REPOSITORY / ".chalice" / "config.json").read_text())
_WAITERS = _REPOSITORY / "sandbox" / "botodata" / "lambda" / "2015-03-31" / "waiters-2.json"
_TRIGGERED = {
    "api_handler": "api",
    "authorize": "authorize",
    "start_exports": "start_exports",
    "record_export": "record_export",
    "restore_shards": "restore_shards",
    "record_dead_letter": "record_dead_letter",
    "reconcile": "reconcile",
    "prune": "prune",
}


def test_every_function_has_a_policy_of_its_own() -> None:
    named = {name: values["iam_policy_file"] for name, values in _CONFIG["lambda_functions"].items()}
    assert named == {name: f"policy-{policy}.json" for name, policy in _TRIGGERED.items()}
    assert _CONFIG["autogen_policy"] is False


def test_stage_local_names_the_resources_of_the_sandbox() -> None:
    sandbox, local = (read_stage(_REPOSITORY, name).environment for name in ("sandbox", "local"))
    assert {**local, **sandbox} == local
    assert all(name.startswith("AWS_") for name in set(local) - set(sandbox))


@pytest.mark.parametrize("name", ["sandbox", "dev", "prod"])
def test_a_deployed_stage_sets_no_variable_that_lambda_reserves(name: str) -> None:
    assert not [variable for variable in read_stage(_REPOSITORY, name).environment if variable.startswith("AWS_")]


def test_queues_hide_a_message_for_six_times_the_timeout_of_the_function_they_feed() -> None:
    stage = read_stage(_REPOSITORY, "sandbox")
    assert stage.timeout_s_by_function["restore_shards"] == 20
    assert stage.visibility_timeout_s("restore_shards") == 120
    assert read_stage(_REPOSITORY, "prod").visibility_timeout_s("restore_shards") == 1800


def test_lambda_names_are_those_chalice_gives() -> None:
    stage = read_stage(_REPOSITORY, "sandbox")
    assert stage.lambda_name("api_handler") == "tablevault-sandbox"
    assert stage.lambda_name("reconcile") == "tablevault-sandbox-reconcile"


def test_ledger_declares_exactly_the_attributes_its_keys_use() -> None:
    indexes = LEDGER_DEFINITION["GlobalSecondaryIndexes"]
    schemas = [LEDGER_DEFINITION["KeySchema"], *(index["KeySchema"] for index in indexes)]
    used = {key["AttributeName"] for schema in schemas for key in schema}
    assert used == {attribute["AttributeName"] for attribute in LEDGER_DEFINITION["AttributeDefinitions"]}


def test_only_the_hash_of_a_token_is_stored() -> None:
    token = new_token("ci", ("backup:read",))
    stored = token.stored()
    assert (stored["name"], stored["scopes"], len(stored["sha256"])) == ("ci", ["backup:read"], 64)
    assert token.token not in json.dumps(stored)


def test_children_get_none_of_the_users_aws_settings() -> None:
    users = {
        "AWS_ACCESS_KEY_ID": "AKIAUSER",
        "AWS_SESSION_TOKEN": "session",
        "AWS_PROFILE": "production",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere",
        "PATH": "/bin",
        "NO_PROXY": "internal",
    }
    environment = isolated_environment(users, "http://127.0.0.1:1")
    assert environment["AWS_ACCESS_KEY_ID"] == "test"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_CONFIG_FILE"] == os.devnull
    assert {"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"}.isdisjoint(environment)
    assert environment["PATH"] == "/bin"
    assert environment["NO_PROXY"] == "internal,127.0.0.1,localhost"


def test_clients_ignore_the_users_profile_and_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://elsewhere")
    client = emulator_client("s3", "http://127.0.0.1:1")
    assert client.meta.endpoint_url == "http://127.0.0.1:1"
    assert client._request_signer._credentials.access_key == "test"


def test_stage_local_reads_the_endpoint_from_the_sandbox_and_nothing_from_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    for name, value in _CONFIG["stages"]["local"]["environment_variables"].items():
        monkeypatch.setenv(name, value)
    write_aws_config(tmp_path / ".sandbox" / "aws-config", "http://127.0.0.1:4599")
    client = _client_of_the_app()
    assert client.meta.endpoint_url == "http://127.0.0.1:4599"
    assert client._request_signer._credentials.access_key == "test"
    assert not client._request_signer._credentials.token


def test_stage_local_says_so_when_no_sandbox_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in _CONFIG["stages"]["local"]["environment_variables"].items():
        monkeypatch.setenv(name, value)
    with pytest.raises(botocore.exceptions.ProfileNotFound, match="no-sandbox-is-running"):
        _client_of_the_app()
    assert "make-sandbox" in LOCAL_STAGE_PROFILE


def test_waiters_differ_from_botocores_only_in_how_often_they_ask() -> None:
    own = json.loads(_WAITERS.read_text())
    theirs = botocore.loaders.Loader().load_service_model("lambda", "waiters-2", "2015-03-31")
    assert _without_pace(own) == _without_pace(theirs)
    assert {waiter["delay"] for waiter in own["waiters"].values()} == {0.05}


def _without_pace(document: Any) -> Any:
    pace = {"delay", "maxAttempts"}
    waiters = document["waiters"].items()
    return {name: {key: waiter[key] for key in set(waiter) - pace} for name, waiter in waiters}


def _client_of_the_app() -> Any:
    import boto3

    return boto3.Session().client("dynamodb")
