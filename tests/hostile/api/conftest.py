"""The API tests' gateway, which looks for tokens and item content in every answer and log line."""

from tests.functional.api.conftest import api, app_module, backed_up, world

__all__ = ["api", "app_module", "backed_up", "world"]
