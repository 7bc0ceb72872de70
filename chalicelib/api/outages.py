"""Whether what failed behind a request passes by itself, so that the caller is told to ask again."""

from botocore.exceptions import (
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)

from chalicelib.backup.failures import may_pass

# No answer, or half of one. The other BotoCoreErrors are defects of ours, such as a parameter that is none.
_NO_ANSWER = (ConnectionError, CredentialRetrievalError, HTTPClientError, IncompleteReadError)


def passes(error: Exception) -> bool:
    """Throttling, a failure inside AWS, no answer from it."""
    return may_pass(error) if isinstance(error, ClientError) else isinstance(error, _NO_ANSWER)
