"""The HTTP server of a run and of `streammix serve`: bounded, closed to strangers, in a thread of its own.

It binds to loopback unless told otherwise, speaks TLS and asks for a bearer token by configuration, and bounds what one
client can make it hold: the size of a request's head and body, how many connections there are and how many requests are
worked on, and how long a connection may stay at one point.
"""

import asyncio
import hmac
import logging
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from streammix.errors import ConfigError
from streammix.pipeline.door import Door
from streammix.pipeline.talk import keep_secret

__all__ = ["TOKEN_VARIABLE", "Listen", "WebServer", "application", "body_of", "json_response", "read_token"]

log = logging.getLogger("streammix")

TOKEN_VARIABLE = "STREAMMIX_TOKEN"
HEAD_BYTES = 1 << 14
BODY_BYTES = 1 << 23
CONNECTIONS = 256
BACKLOG = 256  # of connections that wait to be taken
SECONDS_AT_ONE_POINT = 15
SECONDS_TO_END = 1
OPEN_PATHS = frozenset({"/livez", "/readyz", "/v2/health/live", "/v2/health/ready"})

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Listen:
    """Where to listen, and to whom.

    Parameters
    ----------
    address
        Host and port: ``127.0.0.1:9464``, ``[::1]:0``.
    tls_certificate, tls_key
        Files, in PEM.
    token
        What clients have to show; None for all comers.
    """

    address: str
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    token: str | None = None

    @property
    def host_and_port(self) -> tuple[str, int]:
        """The two parts of the address.

        Examples
        --------
        >>> Listen("[::1]:8080").host_and_port
        ('::1', 8080)
        """
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(f"listen: expected an address and a port, such as 127.0.0.1:8080, got {self.address!r}")
        return host.removeprefix("[").removesuffix("]"), int(port)


def read_token(file: Path | None) -> str | None:
    """Return the bearer token that a file, or else the environment, holds; None if there is neither.

    Raises
    ------
    ConfigError
        If the file can't be read, or the token is empty or not plain text.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"token_file: {file} can't be read: {reason}") from None
        source = f"token_file: {file}"
    elif TOKEN_VARIABLE in os.environ:
        token, source = os.environ[TOKEN_VARIABLE].strip(), f"the environment's {TOKEN_VARIABLE}"
    else:
        return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{source} must hold one token of printable ASCII characters without spaces")
    keep_secret(token)
    return token


def json_response(value: Any, status: int = 200) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def body_of(request: Request) -> bytes:
    """Return a request's body.

    Raises
    ------
    HTTPException
        If it is too large, or packed, or does not come whole.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "the body must not be compressed")
    too_large = HTTPException(413, f"the body may have {BODY_BYTES} bytes; send the records in several requests")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_BYTES:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_BYTES:
                raise too_large
            parts.append(part)
    except ClientDisconnect:
        raise HTTPException(400, "the body did not come whole") from None
    except asyncio.CancelledError:  # the server ends: the client is at fault, not the application
        raise HTTPException(503, "the server ends before the body came whole") from None
    return b"".join(parts)


def application(handlers: Mapping[tuple[str, str], Handler], token: str | None) -> ASGIApp:
    """Return the application of some handlers, by (method, path), behind a token."""
    routes = [Route(path, handler, methods=[method]) for (method, path), handler in handlers.items()]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _say_why, Exception: _say_sorry})
    return app if token is None else _Guard(app, token.encode())


class WebServer:
    """A server in a thread, while the `with` lasts.

    Parameters
    ----------
    app
        The application.
    listen
        Where to listen.
    name
        What it is, for the log.

    Raises
    ------
    ConfigError
        If the address can't be listened at, or the certificate or its key can't be used.
    """

    def __init__(self, app: ASGIApp, listen: Listen, name: str) -> None:
        self._socket = _bound(listen)
        host, port = self._socket.getsockname()[:2]
        has_tls = listen.tls_certificate is not None
        self.url = f"{'https' if has_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        config = uvicorn.Config(
            app,
            loop="asyncio",
            backlog=BACKLOG,
            http=_Bounded,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
            h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_certfile=listen.tls_certificate,
            ssl_keyfile=listen.tls_key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            raise ConfigError(f"the TLS certificate {listen.tls_certificate} can't be used: {error}") from None
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name=name, daemon=True)
        log.info("%s at %s", name, self.url)
        if not ip_address(host).is_loopback and not (has_tls and listen.token):
            log.warning("%s can be reached from other machines, without %s", name, _lacking(listen))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(SECONDS_TO_END + 0.2)
        self._socket.close()


def _bound(listen: Listen) -> socket.socket:
    host, port = listen.host_and_port
    if listen.tls_key is not None and listen.tls_certificate is None:
        raise ConfigError("tls_key needs a tls_certificate")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = Door(family, kind, protocol, CONNECTIONS)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(place)
            bound.listen(BACKLOG)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigError(f"listen: can't listen at {listen.address}: {reason}") from None
    return bound


def _lacking(listen: Listen) -> str:
    lacking = [] if listen.tls_certificate is not None else ["TLS"]
    return " and ".join([*lacking, *([] if listen.token else ["a token"])])


class _Server(uvicorn.Server):
    """A server that bounds the time of a TLS handshake, too."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.config.is_ssl:
            loop: Any = asyncio.get_running_loop()
            loop.create_server = partial(loop.create_server, ssl_handshake_timeout=SECONDS_AT_ONE_POINT)
        await super().startup(sockets)


class _Bounded(H11Protocol):
    """A connection that is closed when it stays at one point for too long.

    Wherever that is: before a request's head has come, in its body, or in an answer that is not read.
    """

    _seen: tuple[Any, bool] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._watch()

    def shutdown(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()
        if self.transport.is_closing():
            self.loop.call_later(SECONDS_TO_END / 4, self.transport.abort)  # TLS would wait for the client's goodbye

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        now = self.cycle, self.cycle is None or self.cycle.response_complete
        if now == self._seen:
            self.transport.abort()
            return
        self._seen = now
        self.loop.call_later(SECONDS_AT_ONE_POINT, self._watch)


class _Guard:
    """Lets through who shows the token, and questions of health."""

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, shown = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        is_known = scheme.lower() == b"bearer" and hmac.compare_digest(shown, self._token)
        if scope["path"] in OPEN_PATHS or is_known:
            await self._app(scope, receive, send)
            return
        response = json_response({"error": "a bearer token is needed"}, 401)
        response.headers["www-authenticate"] = "Bearer"
        await response(scope, receive, send)


async def _say_why(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    if error.status_code == 413:  # the rest of the body is not waited for
        response.headers["connection"] = "close"
    return response


async def _say_sorry(request: Request, error: Exception) -> Response:
    return json_response({"error": "an error of the server's own; its log has more"}, 500)
