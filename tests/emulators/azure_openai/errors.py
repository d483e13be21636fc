"""Refusals of the service in its own envelope.

Must not know of the handlers that raise them.
"""

from typing import Any

from aiohttp import web
from pydantic import ValidationError


class ServiceError(Exception):
    """An answer other than success; `code` and `message` go into the body."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None) -> None:
        """Keep the parts of the answer."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param

    def response(self) -> web.Response:
        """The answer as it goes over the wire."""
        return web.json_response(
            error_body(self.code, self.message, self.param), status=self.status
        )


def error_body(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """The envelope; keys without a value are left out, as the service does."""
    error = {"code": code, "message": message}
    return {"error": error if param is None else {**error, "param": param}}


def invalid(message: str, *, param: str | None = None) -> ServiceError:
    """400: the request itself is wrong."""
    return ServiceError(400, "invalidPayload", message, param=param)


def invalid_body(error: ValidationError) -> ServiceError:
    """400: the body is not of the form that the operation takes."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return invalid(f"The request is not valid at '{where}': {first['msg']}.", param=where)


def missing(what: str) -> ServiceError:
    """404: no such object in this account."""
    return ServiceError(404, "notFound", f"The {what} was not found.")


def quota_exceeded(what: str, limit: int) -> ServiceError:
    """429 that no waiting for seconds helps against: the account is full."""
    message = f"The account already has {limit} {what}, which is its quota. Remove some first."
    return ServiceError(429, "quotaExceeded", message)
