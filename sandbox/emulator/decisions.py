"""What ministack's IAM decided for the functions' roles: which policy's statements a run needed, and what was denied.

Nothing is kept until it is first asked for, so that a sandbox that stays up for days does not grow by it.
"""

import json
import threading
from contextvars import ContextVar
from typing import Any

from sandbox.emulator.asgi import Reply, json_reply

DECISIONS_PATH = "/_sandbox/iam-decisions"
# The condition keys our policies use.
_CONDITIONS_ON = ("s3:", "aws:resourcetag/tablevault:", "application-autoscaling:")

_lock = threading.Lock()
_decided: set[str] | None = None
_weighed: ContextVar[list[Any]] = ContextVar("weighed")


def take() -> Reply:
    """Every different decision since the last call, as `[{"role", "action", "resource", "context", "decision"}]`.

    `decision` is `Allow`, `Deny` or `ImplicitDeny`. The first call begins the recording and answers an empty list.
    """
    global _decided
    with _lock:
        decided, _decided = _decided or set(), set()
    return json_reply(200, [json.loads(each) for each in sorted(decided)])


def install() -> None:
    """Puts the recording into ministack, in this process; a second call changes nothing.

    `enforce` decides a request; the first thing it evaluates, if any, are the principal's own policies (then those
    of the resource). Root has none, so nothing of root's is kept.
    """
    from ministack.core import iam_evaluator

    if getattr(iam_evaluator.enforce, "__module__", "") == __name__:
        return
    decide, weigh = iam_evaluator.enforce, iam_evaluator.evaluate

    def enforce(*args: Any, **kwargs: Any) -> Any:
        weighed: list[Any] = []
        token = _weighed.set(weighed)
        try:
            refusal = decide(*args, **kwargs)
        finally:
            _weighed.reset(token)
        if weighed:
            _record(weighed[0], "Allow" if refusal is None else refusal.decision)
        return refusal

    def evaluate(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        _weighed.get([]).append(ctx)  # outside of `enforce`, into nowhere
        return weigh(ctx, *args, **kwargs)

    iam_evaluator.enforce, iam_evaluator.evaluate = enforce, evaluate


def _context(ctx: Any) -> dict[str, Any]:
    """ministack looks for tags only where a policy asks for them; they count also where a statement was taken away."""
    from ministack.services.tagging import resource_tags

    tags = {f"aws:resourcetag/{name}": value for name, value in (resource_tags(ctx.resource_arn) or {}).items()}
    return {name: value for name, value in {**tags, **ctx.service_context}.items() if name.startswith(_CONDITIONS_ON)}


def _record(ctx: Any, decision: str) -> None:
    if _decided is None or ":assumed-role/" not in ctx.principal_arn:
        return
    entry = {
        "role": ctx.principal_arn.split("/")[1],
        "action": ctx.action,
        "resource": ctx.resource_arn,
        "context": _context(ctx),
        "decision": decision,
    }
    with _lock:
        if _decided is not None:
            _decided.add(json.dumps(entry, sort_keys=True))
