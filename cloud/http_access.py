"""Who may ask over HTTP: operators by one bearer token, phones by the signature of their binding key.

Accounts with log-in and roles come with a later step; until then the operator token is a setting, and without one
no operator gets in.
"""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud.http_errors import ApiError


def operator_check(operator_token: str | None) -> Callable[..., None]:
    """Make the check of the one operator token, compared in constant time."""
    scheme = HTTPBearer(auto_error=False)

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if given is None:
            raise ApiError(401, "not_signed_in", "Send the operator token as: Authorization: Bearer TOKEN.")
        expected = operator_token or ""
        if not expected or not hmac.compare_digest(given.credentials.encode(), expected.encode()):
            raise ApiError(403, "not_allowed", "This operator token is not valid here.")

    return check
