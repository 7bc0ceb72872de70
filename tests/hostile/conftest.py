"""The restore tests' world, for sets that somebody tampered with."""

from tests.functional.conftest import _no_real_aws
from tests.functional.restore.conftest import world

__all__ = ["_no_real_aws", "world"]
