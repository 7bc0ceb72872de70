"""The authorizer: bearer token to name and scopes.

Its policy covers all routes: API Gateway caches it per token, and a policy for one route would then refuse, or
allow, another. Which scope a route needs is decided by the route.
"""

import logging

from chalice.app import AuthRequest, AuthResponse, Blueprint

from chalicelib.services import services
from chalicelib.tokens import find_token

CACHED_S = 60
TOKENS_UNAVAILABLE = "unavailable"
authorizers = Blueprint(__name__)
logger = logging.getLogger("tablevault")


@authorizers.authorizer(name="authorize", ttl_seconds=CACHED_S)
def authorize(request: AuthRequest) -> AuthResponse:
    """Never raises: API Gateway answers 500 then, and chalice local drops the connection.

    While the tokens cannot be read every caller gets as far as the routes, without a name and without a scope, and
    they answer 503: a 403 would send the owner of a good token looking for a fault in it.
    """
    try:
        token = find_token(request.token or "", services().token_store.tokens())
    except Exception as error:
        logger.error("tokens cannot be read, so every request is refused", exc_info=error)
        context = {"scopes": "", "tokens": TOKENS_UNAVAILABLE}
        return AuthResponse(routes=["*"], principal_id="unknown", context=context)
    if token is None:
        return AuthResponse(routes=[], principal_id="unknown")
    return AuthResponse(routes=["*"], principal_id=token.name, context={"scopes": " ".join(token.scopes)})
