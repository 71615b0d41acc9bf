"""`streammix serve`: answers by the newest checkpoint, over HTTP, while a run goes on learning.

New checkpoints are looked for and loaded in the main thread, requests are heard in the server's, and records are scored
in one more, some thousand at a time, so that a large request keeps no small one waiting; a request is answered by the
model that was newest when its first turn came. So no request waits for a model to load.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import streammix
from streammix.bucket import is_url
from streammix.errors import ConfigError, RecordError, StreammixError
from streammix.mixture import Mixture
from streammix.pipeline import answering, tensors, web
from streammix.pipeline.evaluating import stand_still
from streammix.pipeline.stopping import stop_on_signals
from streammix.store import Checkpoint, CheckpointStore, read

__all__ = ["serve"]

log = logging.getLogger("streammix")

LOOK_SECONDS, LOOK_FAR_SECONDS = 1.0, 10.0
SLICE = 0.2
_SOON = {"retry-after": "1"}
REQUESTS = 32  # that are read or wait at a time


def serve(state: str, listen: web.Listen, name: str = "streammix") -> int:
    """Answer until a signal comes; return it.

    Parameters
    ----------
    state
        A checkpoint, a directory of them, or ``s3://bucket/prefix``. There need not be any yet, but for the first.
    listen
        Where, and to whom.
    name
        The model's name in the open inference protocol.

    Raises
    ------
    ConfigError
        If there is no such place, it can't be listened at, or the name can't stand in a URL.
    CheckpointError
        If the one checkpoint is damaged or foreign.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise ConfigError(f"--name is a part of URLs: letters, digits, '.', '_' and '-', not {name!r}")
    newest = Newest(state)
    service = Service(newest, name)
    server = web.WebServer(web.application(service.handlers(), listen.token), listen, "scores")
    pause = LOOK_FAR_SECONDS if is_url(state) else LOOK_SECONDS
    with server, stop_on_signals() as stop:
        due = time.monotonic() + pause
        while stop.signal is None:
            time.sleep(SLICE)
            if time.monotonic() >= due:
                newest.look()
                due = time.monotonic() + pause
    service.close()
    log.info("ended by signal %d", stop.signal)
    return stop.signal


class Newest:
    """The newest checkpoint of a place, loaded.

    Parameters
    ----------
    state
        As in `serve`.

    Attributes
    ----------
    loaded
        The checkpoint that answers, replaced as a whole; None before there is one.
    """

    def __init__(self, state: str) -> None:
        self.loaded: Checkpoint | None = None
        self.reloads = self.failures = 0
        self._file: Path | None = None
        self._seen: Any = None
        self._told = ""
        if is_url(state) or Path(state).is_dir():
            self._store = CheckpointStore(state, readonly=True)
            self.look()
            if self.loaded is None:
                log.info("%s: there is no checkpoint yet; waiting for the first", state)
        elif Path(state).exists():
            self._file = Path(state)
            self._seen = _mark(self._file)
            self._take(read(self._file))
        else:
            raise ConfigError(f"there is no checkpoint {state}")

    def look(self) -> None:
        """Load what is new; where it can't be, what is loaded stays."""
        try:
            mark = _mark(self._file) if self._file is not None else self._store.newest()
            if mark == self._seen:
                return
            found = read(self._file) if self._file is not None else self._store.latest()
            self._seen, self._told = mark, ""
            if found is not None and (self.loaded is None or found.path != self.loaded.path or self._file is not None):
                self._take(found)
        except (StreammixError, OSError) as error:
            self.failures += 1
            if str(error) != self._told:
                self._told = str(error)
                log.warning("the newest checkpoint can't be loaded: %s", error)

    def _take(self, found: Checkpoint) -> None:
        stand_still(found.model)
        self.loaded = found
        self.reloads += 1
        log.info("%s answers from now on, after %s records", found.path, f"{found.model.n_seen:,}")


class Service:
    """The handlers of requests.

    Parameters
    ----------
    newest
        What answers.
    name
        The model's name.
    """

    def __init__(self, newest: Newest, name: str) -> None:
        self._newest, self._name = newest, name
        self._worker = ThreadPoolExecutor(1, "scoring")
        self._at_work = 0
        self._registry = own = CollectorRegistry()
        self._requests = Counter("streammix_requests", "Requests for scores.", ["form", "status"], registry=own)
        self._seconds = Histogram("streammix_request_seconds", "How long they took.", ["form"], registry=own)
        self._scored = Counter("streammix_scored", "Records scored.", registry=own)
        self._refused = Counter("streammix_refused", "Records refused.", registry=own)
        gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "ready": ("Whether there is a model that has warmed up.", lambda: float(self._is_ready)),
            "model_records": ("Records that the model has learnt.", lambda: self._of_loaded(lambda c: c.model.n_seen)),
            "model_age_seconds": ("Since its checkpoint was written.", lambda: self._of_loaded(_age)),
            "reloads": ("Checkpoints loaded.", lambda: newest.reloads),
            "reload_failures": ("Attempts to load one that failed.", lambda: newest.failures),
        }
        for gauge, (what, function) in gauges.items():
            Gauge(f"streammix_{gauge}", what, registry=own).set_function(function)
        ProcessCollector(registry=own)

    def handlers(self) -> dict[tuple[str, str], web.Handler]:
        """Return the handlers by (method, path)."""
        model = "/v2/models/{name}"
        return {
            ("GET", "/livez"): self._live,
            ("GET", "/readyz"): self._ready,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/v2"): self._about,
            ("GET", "/v2/health/live"): self._live,
            ("GET", "/v2/health/ready"): self._ready,
            ("GET", model): self._about_model,
            ("GET", f"{model}/ready"): self._model_ready,
            ("POST", f"{model}/infer"): self._infer,
            ("POST", "/score"): self._score,
        }

    def close(self) -> None:
        """End the thread that scores, after the step that it is at."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _live(self, request: Request) -> Response:
        return web.json_response({"live": True})

    @property
    def _is_ready(self) -> bool:
        """Whether there is a model, and it has warmed up: before, all records are alike to it."""
        return self._newest.loaded is not None and self._newest.loaded.model.is_warm

    async def _ready(self, request: Request) -> Response:
        return web.json_response({"ready": self._is_ready, "live": True}, 200 if self._is_ready else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    async def _about(self, request: Request) -> Response:
        return web.json_response({"name": "streammix", "version": streammix.__version__, "extensions": []})

    async def _about_model(self, request: Request) -> Response:
        self._check_name(request)
        model = self._model()
        inputs, outputs = tensors.inputs_of(model), tensors.outputs_of(model)
        about = {"name": self._name, "platform": "streammix_mixture", "inputs": inputs, "outputs": outputs}
        return web.json_response(about)

    async def _model_ready(self, request: Request) -> Response:
        self._check_name(request)
        return web.json_response({"name": self._name, "ready": self._is_ready}, 200 if self._is_ready else 503)

    async def _infer(self, request: Request) -> Response:
        self._check_name(request)

        def work(body: bytes) -> Iterator[answering.Step]:
            yield from tensors.infer(self._model(), self._name, body)

        return await self._answer("infer", request, work, "application/json")

    async def _score(self, request: Request) -> Response:
        def work(body: bytes) -> Iterator[answering.Step]:
            yield from answering.score_lines(self._model(), body)

        return await self._answer("score", request, work, "application/x-ndjson")

    async def _answer(
        self, form: str, request: Request, work: Callable[[bytes], Iterator[answering.Step]], media_type: str
    ) -> Response:
        begin, status = time.perf_counter(), 500
        try:
            if self._at_work >= REQUESTS:
                raise HTTPException(503, f"{REQUESTS} requests are waiting already", _SOON)
            self._at_work += 1
            try:
                steps = [step async for step in self._in_turn(work(await web.body_of(request)))]
            finally:
                self._at_work -= 1
            self._scored.inc(sum(scored for _, scored, _ in steps))
            self._refused.inc(sum(refused for _, _, refused in steps))
            status = 200
            return Response(b"".join(part for answer, _, _ in steps for part in answer), media_type=media_type)
        except RecordError as error:
            status = 400
            raise HTTPException(status, str(error)) from None
        except HTTPException as error:
            status = error.status_code
            raise
        finally:
            self._requests.labels(form, status).inc()
            self._seconds.labels(form).observe(time.perf_counter() - begin)

    async def _in_turn(self, steps: Iterator[answering.Step]) -> AsyncIterator[answering.Step]:
        """Take steps in the thread that scores, after those of others that wait."""
        loop = asyncio.get_running_loop()
        try:
            while (step := await loop.run_in_executor(self._worker, next, steps, None)) is not None:
                yield step
        except asyncio.CancelledError:
            raise HTTPException(503, "the server ends before the records are scored") from None

    def _model(self) -> Mixture:
        if self._newest.loaded is None:
            raise HTTPException(503, "there is no checkpoint yet", _SOON)
        return self._newest.loaded.model

    def _check_name(self, request: Request) -> None:
        if request.path_params["name"] != self._name:
            raise HTTPException(404, f"unknown model {request.path_params['name']!r}; there is {self._name!r}")

    def _of_loaded(self, value: Callable[[Checkpoint], float]) -> float:
        return float("nan") if self._newest.loaded is None else value(self._newest.loaded)


def _age(found: Checkpoint) -> float:
    return (datetime.now(UTC) - found.written_at).total_seconds()


def _mark(file: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced."""
    known = file.stat()
    return known.st_ino, known.st_size, known.st_mtime_ns
