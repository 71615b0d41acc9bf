"""The doors to the HTTP servers, of a run and of `streammix serve`: their packages are loaded when they are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from streammix.errors import ConfigError
from streammix.pipeline.config import Config

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from streammix.pipeline.metrics import Metrics

__all__ = ["serve", "watching"]


def serve(
    state: str, address: str, name: str, tls_certificate: Path | None, tls_key: Path | None, token_file: Path | None
) -> int:
    """Do as `streammix.pipeline.serving.serve`, whose packages are loaded only now.

    Raises
    ------
    ConfigError
        If packages are missing, too.
    """
    try:
        from streammix.pipeline import serving, web
    except ModuleNotFoundError as error:
        raise ConfigError(f"serve needs {error.name}: pip install 'streammix[serve]'") from None
    return serving.serve(state, web.Listen(address, tls_certificate, tls_key, web.read_token(token_file)), name)


@contextmanager
def watching(config: Config) -> "Iterator[Metrics | None]":
    """Answer ``/metrics``, ``/livez`` and ``/readyz`` while the `with` lasts, if there is a section ``[metrics]``.

    Raises
    ------
    ConfigError
        If the section can't be followed, or packages are missing.
    """
    section = config.metrics
    if section is None:
        yield None
        return
    try:
        from starlette.responses import Response

        from streammix.pipeline import web
        from streammix.pipeline.metrics import Metrics
    except ModuleNotFoundError as error:
        raise ConfigError(f"[metrics] needs {error.name}: pip install 'streammix[serve]'") from None

    metrics = Metrics()

    async def show(request: "Request") -> "Response":
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def live(request: "Request") -> "Response":
        return web.json_response({"live": True})

    async def ready(request: "Request") -> "Response":
        return web.json_response({"ready": metrics.is_ready}, 200 if metrics.is_ready else 503)

    def path(name: str | None) -> "Path | None":
        return None if name is None else config.resolve(name)

    try:
        token = web.read_token(path(section.token_file))
        listen = web.Listen(section.listen, path(section.tls_certificate), path(section.tls_key), token)
        handlers = {("GET", "/metrics"): show, ("GET", "/livez"): live, ("GET", "/readyz"): ready}
        server = web.WebServer(web.application(handlers, token), listen, "metrics")
    except ConfigError as error:
        raise ConfigError(f"[metrics] {error}") from None
    with server:
        yield metrics
