"""The smallest applications for uvicorn (asgi) and gunicorn (wsgi)."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any


async def asgi(scope: dict[str, Any], _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": b"hello\n"})


def wsgi(_environ: object, start: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "6")])
    return [b"hello\n"]
