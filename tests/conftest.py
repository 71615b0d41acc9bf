"""Lets the tests in folders below import what stands here: the oracle, the laws; and an S3 server for those who ask."""

import logging
import secrets
from urllib.request import Request, urlopen

import pytest


@pytest.fixture(scope="session")
def s3_server():
    """The URL of an S3 server on this machine."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """The URL of a prefix in a bucket of the test's own."""
    name = f"bucket-{secrets.token_hex(8)}"
    settings = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "a-secret-key"}
    for variable, value in {**settings, "REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{variable}", value)
    urlopen(Request(f"{s3_server}/{name}", method="PUT"), timeout=10).close()
    return f"s3://{name}/runs/state"
