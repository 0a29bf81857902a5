# SPDX-License-Identifier: Apache-2.0
"""The routes of the server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pydantic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app import __version__
from app.statistics_request import StatisticsRequest, describe


def _answer(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json")


async def _health(_request: Request) -> Response:
    return _answer({"status": "ok"})


async def _ready(request: Request) -> Response:
    ready: bool = request.app.state.ready
    return _answer({"status": "ready" if ready else "starting"}, 200 if ready else 503)


async def _version(_request: Request) -> Response:
    return _answer({"version": __version__})


async def _statistics(request: Request) -> Response:
    try:
        values = StatisticsRequest.model_validate_json(await request.body())
    except pydantic.ValidationError as error:
        faults = [{"at": list(fault["loc"]), "message": fault["msg"]} for fault in error.errors()]
        return _answer({"error": {"code": "bad-request", "faults": faults}}, 400)
    return _answer(describe(values).model_dump())


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.ready = True
    yield
    app.state.ready = False


def make_app() -> Starlette:
    """Return the application: GET /healthz, /readyz and /version, POST /v1/statistics."""
    app = Starlette(
        lifespan=_lifespan,
        routes=[
            Route("/healthz", _health),
            Route("/readyz", _ready),
            Route("/version", _version),
            Route("/v1/statistics", _statistics, methods=["POST"]),
        ],
    )
    app.state.ready = False
    return app
