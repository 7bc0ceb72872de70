"""Keeps the sandbox away from the user's AWS account: environments and clients that know only the emulator.

Everything the sandbox starts, and every client it makes, has the emulator's root credentials and reads none of
the user's configuration, so that no mistake in it can reach a real account.
"""

import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

REGION = "us-east-1"
ROOT_KEY = "test"  # ministack's root user, key and secret
PROFILE = "tablevault-sandbox"
# Stage `local` asks for the same profile by this name: while no sandbox runs the file is gone, and botocore's
# "The config profile (…) could not be found" then says what is wrong and what to do.
LOCAL_STAGE_PROFILE = "no-sandbox-is-running--start-it-with-make-sandbox"
_LOOPBACK = "127.0.0.1,localhost"


def isolated_environment(environ: Mapping[str, str], endpoint_url: str | None = None) -> dict[str, str]:
    """`environ` for a child process, with every AWS setting replaced by the emulator's."""
    kept = {name: value for name, value in environ.items() if not name.startswith("AWS_")}
    own = {
        "AWS_ACCESS_KEY_ID": ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if endpoint_url:
        own["AWS_ENDPOINT_URL"] = endpoint_url
    no_proxy = ",".join(filter(None, [environ.get("NO_PROXY", environ.get("no_proxy", "")), _LOOPBACK]))
    return {**kept, **own, "NO_PROXY": no_proxy, "no_proxy": no_proxy}


def emulator_client(service: str, endpoint_url: str) -> Any:
    """A boto3 client of the emulator's root user that ignores the user's profile, files and proxy."""
    session = botocore.session.Session(
        session_vars={
            "config_file": (None, None, os.devnull, None),
            "credentials_file": (None, None, os.devnull, None),
            "profile": (None, None, None, None),
        }
    )
    return boto3.Session(
        aws_access_key_id=ROOT_KEY,
        aws_secret_access_key=ROOT_KEY,
        region_name=REGION,
        botocore_session=session,
    ).client(
        service,
        endpoint_url=endpoint_url,
        config=Config(
            proxies={},
            read_timeout=120,
            max_pool_connections=50,
            retries={"mode": "standard"},
            s3={"addressing_style": "path"},
        ),
    )


def open_local(request: urllib.request.Request | str, timeout_s: float) -> Any:
    """urlopen for the emulator: past whatever proxy the user's environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def write_aws_config(path: Path, endpoint_url: str) -> None:
    """An AWS config file that knows only the emulator; stage `local` and the AWS command line read it."""
    settings = {
        "region": REGION,
        "endpoint_url": endpoint_url,
        "aws_access_key_id": ROOT_KEY,
        "aws_secret_access_key": ROOT_KEY,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    sections = ["\n".join([f"[profile {name}]", *lines]) for name in (PROFILE, LOCAL_STAGE_PROFILE)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(sections) + "\n")


def remove_aws_config(path: Path, endpoint_url: str) -> None:
    """Removes the file, unless another sandbox has put its own in its place since."""
    if path.exists() and f"endpoint_url = {endpoint_url}\n" in path.read_text():
        path.unlink()
