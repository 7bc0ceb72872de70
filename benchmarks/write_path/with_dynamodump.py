"""`<its python> with_dynamodump.py <url> <folder> <items>`: (c) the restore of PyPI's dynamodump, as its command runs
it with --dataOnly --skipThroughputUpdate, on a dump in its own format. Run by an environment of its own, as it pins
another boto3. Imports nothing of this project.

What is left out of the figure is its start (parsing arguments, making the client); one thread per table is how it
works.
"""

import json
import sys
import time
from argparse import Namespace
from datetime import datetime

from dynamodump import dynamodump

TABLE = "orders"


def main(url: str, folder: str, items: int) -> None:
    dynamodump.args = Namespace(dumpPath=folder, dataOnly=True, skipThroughputUpdate=True, schemaOnly=False)
    dynamodump.sleep_interval = dynamodump.LOCAL_SLEEP_INTERVAL
    dynamodump.start_time = datetime.now().replace(microsecond=0)
    client = dynamodump._get_aws_client(
        service="dynamodb", region="eu-west-1", access_key="benchmark", secret_key="benchmark", endpoint_url=url
    )
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    dynamodump.do_restore(
        client, dynamodump.sleep_interval, TABLE, TABLE, write_capacity=None, billing_mode="PAY_PER_REQUEST"
    )
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    sys.stdout.write(json.dumps({"items": items, "wall_s": wall_s, "cpu_s": cpu_s}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
