"""What the tests of the pipeline share."""

import logging
import os

import pytest
from brokers import KafkaTopics, NatsStreams, RedisStreams
from pipeline_tools import FILES, SINKS, events, write_config, write_ndjson


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """The command line sends the log to its standard error, which is gone after the test."""
    logs = [logging.getLogger(name) for name in ("streammix", "uvicorn", "asyncio")]
    before = [(log, list(log.handlers), log.level) for log in logs]
    yield
    for log, handlers, level in before:
        log.handlers[:] = handlers
        log.setLevel(level)


@pytest.fixture
def place(tmp_path):
    """A directory with 1,200 events and a configuration."""
    write_ndjson(tmp_path / "events" / "a.ndjson", events(1200))
    write_config(tmp_path, FILES, SINKS)
    return tmp_path


@pytest.fixture(scope="session", params=["redis", "nats", "kafka"])
def broker(request):
    """A running server of each kind."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """Redis, one a test process."""
    server = RedisStreams(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory):
    """NATS with JetStream, one a test process."""
    server = NatsStreams(tmp_path_factory.mktemp("nats"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory):
    """Kafka, one for all test processes."""
    own = tmp_path_factory.getbasetemp()
    return KafkaTopics(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)
