"""The row each trigger of the toy app leaves behind."""

import os

import boto3


def put_row(kind: str, value: str) -> None:
    boto3.client("dynamodb").put_item(
        TableName=os.environ["LEDGER_TABLE"], Item={"pk": {"S": kind}, "sk": {"S": value}}
    )
