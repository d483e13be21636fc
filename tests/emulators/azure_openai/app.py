"""Puts the parts together: which path leads to which handler, behind which middlewares.

Must not contain behaviour of its own.
"""

from aiohttp import web

from azure_openai import authority, chat, control, files, grading, jobs, middleware, uploads
from azure_openai.context import CONTEXT, Context

_MAXIMUM_UPLOAD = 512 * 1024**2


def build_app(context: Context, *, controlled: bool) -> web.Application:
    """The account as a web application; `controlled` opens the control API too."""
    app = web.Application(
        client_max_size=_MAXIMUM_UPLOAD,
        middlewares=[
            middleware.count_requests,
            middleware.meet_faults,
            middleware.write_errors,
            middleware.check_access,
            middleware.move_queue,
        ],
    )
    app[CONTEXT] = context
    for prefix in (middleware.V1_PREFIX, middleware.PROJECT_PREFIX):
        app.add_routes(_account_routes(prefix))
        app.router.add_post(f"{prefix}/chat/completions", chat.complete)
    app.add_routes(_account_routes(middleware.DATED_PREFIX))
    app.add_routes(_dated_routes(middleware.DATED_PREFIX))
    app.router.add_get("/_health", _health)
    if controlled:
        app.add_routes(control.routes(context.settings.model_copy(), context.clock.speed))
    app.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", authority.discover)
    app.router.add_post("/{tenant}/oauth2/v2.0/token", authority.issue_token)
    return app


def _account_routes(prefix: str) -> list[web.RouteDef]:
    job = f"{prefix}/fine_tuning/jobs/{{job}}"
    graders = f"{prefix}/fine_tuning/alpha/graders"
    return [
        web.post(f"{prefix}/files", files.upload),
        web.get(f"{prefix}/files", files.list_files),
        web.get(f"{prefix}/files/{{file}}", files.get_file),
        web.delete(f"{prefix}/files/{{file}}", files.delete_file),
        web.get(f"{prefix}/files/{{file}}/content", files.get_content),
        web.post(f"{prefix}/fine_tuning/jobs", jobs.create_job),
        web.get(f"{prefix}/fine_tuning/jobs", jobs.list_jobs),
        web.get(job, jobs.get_job),
        web.post(f"{job}/cancel", jobs.cancel_job),
        web.post(f"{job}/pause", jobs.pause_job),
        web.post(f"{job}/resume", jobs.resume_job),
        web.get(f"{job}/events", jobs.list_events),
        web.get(f"{job}/checkpoints", jobs.list_checkpoints),
        web.post(f"{graders}/validate", grading.validate),
        web.post(f"{graders}/run", grading.run),
    ]


def _dated_routes(prefix: str) -> list[web.RouteDef]:
    upload = f"{prefix}/uploads/{{upload}}"
    completion = f"{prefix}/chat/completions/{{completion}}"
    return [
        web.delete(f"{prefix}/fine_tuning/jobs/{{job}}", jobs.delete_job),
        web.post(f"{prefix}/deployments/{{deployment}}/chat/completions", chat.complete),
        web.get(f"{prefix}/chat/completions", chat.list_stored),
        web.get(completion, chat.get_stored),
        web.post(completion, chat.change_stored),
        web.delete(completion, chat.delete_stored),
        web.get(f"{completion}/messages", chat.list_messages),
        web.post(f"{prefix}/uploads", uploads.begin),
        web.post(f"{upload}/parts", uploads.add_part),
        web.post(f"{upload}/complete", uploads.complete),
        web.post(f"{upload}/cancel", uploads.cancel),
    ]


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
