"""On-demand backups made older on request: ministack dates them by the machine's clock, as AWS does by its own."""

import msgspec

from sandbox.emulator.asgi import Reply, json_reply
from sandbox.exports.administration import Older

_DAY_S = 24 * 3600


def make_older(body: bytes) -> Reply:
    """Answers a POST to AGES_PATH: the backups of every account and region."""
    from ministack.services import dynamodb

    try:
        days = msgspec.json.decode(body, type=Older).days
        if days < 0:
            raise ValueError(f"backups cannot get younger, by {-days} days")
    except (msgspec.MsgspecError, ValueError) as error:
        return json_reply(400, {"message": str(error)})
    backups = list(dynamodb._backups._data.values())
    for backup in backups:
        backup["BackupDetails"]["BackupCreationDateTime"] -= days * _DAY_S
    return json_reply(200, {"backups": len(backups)})
