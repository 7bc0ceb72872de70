"""The emulator's Lambda functions: how soon they become active, and which processes run them."""

from sandbox.emulator.asgi import Reply, json_reply

WORKERS_PATH = "/_sandbox/lambda-workers"
_STATE_CHANGE_S = 0.02


def shorten_state_changes() -> None:
    """Lets a new or changed function be active at once; ministack imitates AWS with half a second each.

    A deploy makes one such change per function, a redeploy two, and waits for each.
    """
    from ministack.services import lambda_svc

    lambda_svc._LAMBDA_STATE_TRANSITION_DELAY = _STATE_CHANGE_S


def list_workers() -> Reply:
    """`{function name: [{"pid": …, "busy": …}]}` of the living worker processes."""
    from ministack.core import lambda_runtime

    workers: dict[str, list[dict[str, object]]] = {}
    with lambda_runtime._lock:
        pools = [worker for pool in lambda_runtime._workers.values() for worker in pool]
    for worker in pools:
        process = worker._proc
        if process is not None and process.poll() is None:
            workers.setdefault(worker.func_name, []).append({"pid": process.pid, "busy": worker.in_use})
    return json_reply(200, workers)


def stop_workers() -> None:
    """Ends every worker process and waits for it: SIGTERM, and SIGKILL after two seconds."""
    from ministack.core import lambda_runtime

    lambda_runtime.reset()
