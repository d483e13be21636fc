"""The token endpoint: OpenID discovery and the client-credentials exchange of workload identity.

Must not know how an assertion is checked: the directory does that.
"""

import datetime
import uuid
from typing import Any

from aiohttp import web

from azure_openai.context import CONTEXT
from azure_openai.identity import AuthorityError

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PARAMETERS = ("client_id", "client_assertion", "client_assertion_type", "grant_type", "scope")


async def discover(request: web.Request) -> web.Response:
    """GET /{tenant}/v2.0/.well-known/openid-configuration."""
    tenant_id = request.match_info["tenant"]
    try:
        request.app[CONTEXT].directory.require_tenant(tenant_id)
    except AuthorityError as error:
        return _refused(error)
    base = f"{request.scheme}://{request.host}/{tenant_id}"
    return web.json_response(
        {
            "issuer": f"{base}/v2.0",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
    )


async def issue_token(request: web.Request) -> web.Response:
    """POST /{tenant}/oauth2/v2.0/token."""
    form = {name: str(value) for name, value in (await request.post()).items()}
    try:
        _check_form(form)
        token = await request.app[CONTEXT].directory.exchange(
            tenant_id=request.match_info["tenant"],
            client_id=form["client_id"],
            assertion=form["client_assertion"],
            scope=form["scope"],
        )
    except AuthorityError as error:
        return _refused(error)
    return web.json_response(
        {
            "token_type": "Bearer",
            "expires_in": token.lifetime,
            "ext_expires_in": token.lifetime,
            "access_token": token.value,
        }
    )


def _check_form(form: dict[str, str]) -> None:
    for name in _PARAMETERS:
        if not form.get(name):
            message = f"The request body must contain the following parameter: '{name}'."
            raise AuthorityError(400, "invalid_request", 900144, message)
    if form["grant_type"] != "client_credentials":
        message = f"The app requested an unsupported grant type '{form['grant_type']}'."
        raise AuthorityError(400, "unsupported_grant_type", 70003, message)
    if form["client_assertion_type"] != _ASSERTION_TYPE:
        message = "The request body must contain a client assertion of type jwt-bearer."
        raise AuthorityError(400, "invalid_request", 900144, message)


def _refused(error: AuthorityError) -> web.Response:
    timestamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    trace_id, correlation_id = str(uuid.uuid4()), str(uuid.uuid4())
    description = (
        f"AADSTS{error.number}: {error.message} Trace ID: {trace_id} "
        f"Correlation ID: {correlation_id} Timestamp: {timestamp}"
    )
    body: dict[str, Any] = {
        "error": error.error,
        "error_description": description,
        "error_codes": [error.number],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
    }
    return web.json_response(body, status=error.status)
