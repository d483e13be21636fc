"""The directory: which workload may become which client, and the tokens that were issued.

Must not know of HTTP routes. Times are real seconds: a client measures a token's life by its own
clock. A refusal carries the number that the real service documents for it.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from azure_openai.issuer import KeySource, KeysUnavailableError, KeyUnknownError

ASSERTION_AUDIENCE = "api://AzureADTokenExchange"
DATA_PLANE_SCOPE = "https://cognitiveservices.azure.com/.default"
PROJECT_SCOPE = "https://ai.azure.com/.default"
_KNOWN_SCOPES = (
    DATA_PLANE_SCOPE,
    PROJECT_SCOPE,
    "https://management.azure.com/.default",
)
_ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]


@dataclass(frozen=True, kw_only=True)
class Federation:
    """One federated credential: this subject may get tokens for this client."""

    tenant_id: str
    client_id: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class IssuedToken:
    """An access token as its holder gets it; `lifetime` in real seconds."""

    value: str
    lifetime: int


class AuthorityError(Exception):
    """A refusal: the OAuth error, the AADSTS number and a sentence."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        """Keep the parts of the answer."""
        super().__init__(message)
        self.status = status
        self.error = error
        self.number = number
        self.message = message


class Directory:
    """Checks assertions against the federated credentials and remembers what it issued."""

    def __init__(
        self,
        *,
        issuer: str | None,
        keys: KeySource | None,
        federations: list[Federation],
        token_seconds: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Trust `issuer`, whose signing keys come from `keys`; without one nobody gets a token."""
        self.federations = federations
        self._issuer = issuer
        self._keys = keys
        self._token_seconds = token_seconds
        self._wall = wall
        self._issued: dict[str, tuple[float, str]] = {}

    def admits(self, token: str, scope: str) -> bool:
        """Whether `token` was issued here for `scope` and still lives."""
        expires, issued_for = self._issued.get(token, (0.0, ""))
        return issued_for == scope and self._wall() < expires

    def require_tenant(self, tenant_id: str) -> None:
        """Refuse a tenant that has no federated credential.

        Raises:
            AuthorityError: the tenant is unknown.
        """
        if all(federation.tenant_id != tenant_id for federation in self.federations):
            raise AuthorityError(400, "invalid_request", 90002, f"Tenant '{tenant_id}' not found.")

    async def exchange(
        self, *, tenant_id: str, client_id: str, assertion: str, scope: str
    ) -> IssuedToken:
        """A token for `client_id` in return for a workload's own token.

        Raises:
            AuthorityError: anything is not as the federated credential says.
        """
        self.require_tenant(tenant_id)
        subjects = self._subjects(tenant_id, client_id)
        claims = await self._verify(assertion)
        if claims["sub"] not in subjects:
            raise _invalid_client(
                700213,
                "No matching federated identity record found for presented assertion subject "
                f"'{claims['sub']}'.",
            )
        if scope not in _KNOWN_SCOPES:
            name = scope.removesuffix("/.default")
            message = f"The resource principal named {name} was not found in the tenant."
            raise AuthorityError(400, "invalid_resource", 500011, message)
        return self._issue(scope)

    def _subjects(self, tenant_id: str, client_id: str) -> set[str]:
        subjects = {
            federation.subject
            for federation in self.federations
            if (federation.tenant_id, federation.client_id) == (tenant_id, client_id)
        }
        if not subjects:
            message = f"Application with identifier '{client_id}' was not found in the directory."
            raise AuthorityError(400, "unauthorized_client", 700016, message)
        return subjects

    async def _verify(self, assertion: str) -> dict[str, Any]:
        """The claims of an assertion that is signed, current, ours by audience and issuer."""
        try:
            key_id = str(jwt.get_unverified_header(assertion).get("kid"))
        except jwt.InvalidTokenError as error:
            raise _invalid_client(50027, "JWT token is invalid or malformed.") from error
        if self._keys is None or self._issuer is None:
            raise _invalid_client(700211, "No issuer is configured for this directory.")
        try:
            key = await self._keys.key(key_id)
            return jwt.decode(
                assertion,
                key,
                algorithms=_ALGORITHMS,
                audience=ASSERTION_AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except KeysUnavailableError as error:
            message = f"The signing keys of the issuer cannot be read: {error}."
            raise AuthorityError(503, "temporarily_unavailable", 90033, message) from error
        except (jwt.InvalidTokenError, KeyUnknownError) as error:
            raise _refusal(error) from error

    def _issue(self, scope: str) -> IssuedToken:
        now = self._wall()
        self._issued = {key: kept for key, kept in self._issued.items() if kept[0] > now}
        value = secrets.token_urlsafe(48)
        self._issued[value] = (now + self._token_seconds, scope)
        return IssuedToken(value=value, lifetime=self._token_seconds)


def _refusal(error: Exception) -> AuthorityError:
    match error:
        case jwt.ExpiredSignatureError() | jwt.ImmatureSignatureError():
            message = "Client assertion is not within its valid time range."
            return _invalid_client(700024, message)
        case jwt.InvalidAudienceError():
            message = (
                "No matching federated identity record found for presented assertion audience. "
                f"It must be '{ASSERTION_AUDIENCE}'."
            )
            return _invalid_client(700212, message)
        case jwt.InvalidIssuerError():
            message = "No matching federated identity record found for presented assertion issuer."
            return _invalid_client(700211, message)
        case jwt.InvalidSignatureError() | KeyUnknownError():
            return _invalid_client(700027, "Client assertion failed signature validation.")
    return _invalid_client(50027, "JWT token is invalid or malformed.")


def _invalid_client(number: int, message: str) -> AuthorityError:
    return AuthorityError(401, "invalid_client", number, message)
