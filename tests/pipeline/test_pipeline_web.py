"""The HTTP server: who is let in, and what one client can make it hold."""

import contextlib
import errno
import logging
import socket
import ssl
import time

import httpx
import pytest
from web_tools import client, make_certificate

from streammix.errors import ConfigError
from streammix.pipeline import door, talk, web
from streammix.pipeline.serving import serve

TOKEN = "a-token-of-24-characters"


async def echo(request):
    return web.Response(await web.body_of(request))


async def fail(request):
    raise ZeroDivisionError


HANDLERS = {("POST", "/echo"): echo, ("GET", "/livez"): echo, ("GET", "/fail"): fail}


@contextlib.contextmanager
def serving(token=None, **listen):
    listen = web.Listen("127.0.0.1:0", token=token, **listen)
    with web.WebServer(web.application(HANDLERS, token), listen, "test") as server:
        yield server.url


def test_only_who_shows_the_token_is_let_in():
    with serving(TOKEN) as url, client(url) as stranger:
        assert stranger.get("/livez").status_code == 200
        refused = stranger.post("/echo", content=b"x")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.json() == {"error": "a bearer token is needed"}
        for shown in ("Bearer", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9"):
            assert stranger.get("/nowhere", headers={"authorization": shown.encode("latin-1")}).status_code == 401
        for scheme in ("Bearer", "bearer"):  # no matter in which case
            known = stranger.post("/echo", content=b"x", headers={"authorization": f"{scheme} {TOKEN}"})
            assert known.content == b"x"


def test_tls(tmp_path):
    certificate, key = make_certificate(tmp_path)
    with serving(tls_certificate=certificate, tls_key=key) as url:
        assert url.startswith("https://127.0.0.1:")
        with client(url, certificate=certificate) as known:
            assert known.post("/echo", content=b"x").content == b"x"
        with client(url.replace("https", "http")) as plain, pytest.raises(httpx.TransportError):
            plain.get("/livez")


def test_errors_are_json():
    with serving() as url, client(url) as asking:
        for method, path, status in (("GET", "/nowhere", 404), ("GET", "/echo", 405), ("GET", "/fail", 500)):
            answer = asking.request(method, path)
            assert answer.status_code == status
            assert list(answer.json()) == ["error"]
        assert "ZeroDivision" not in answer.text


def test_bodies_are_bounded(monkeypatch):
    monkeypatch.setattr(web, "BODY_BYTES", 1000)
    with serving() as url, client(url) as asking:
        assert asking.post("/echo", content=b"x" * 1000).status_code == 200
        assert asking.post("/echo", content=b"x" * 1001).status_code == 413
        chunked = asking.post("/echo", content=iter([b"x" * 600, b"x" * 600]))
        assert (chunked.status_code, chunked.headers["connection"]) == (413, "close")
        assert asking.post("/echo", content=b"x", headers={"content-encoding": "gzip"}).status_code == 415


def test_heads_are_bounded():
    with serving() as url, client(url) as asking:
        assert asking.get("/livez", headers={"x": "y" * (web.HEAD_BYTES // 2)}).status_code == 200
        assert asking.get("/livez", headers={"x": "y" * 1_000_000}).status_code == 400


def closed_after(connection):
    """Return how many seconds it takes the other side to close a connection."""
    begin = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while connection.recv(1 << 16):
            pass
    return time.monotonic() - begin


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n",
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET",
    ],
    ids=["nothing", "half a head", "half a body", "half a second head"],
)
def test_a_connection_that_stays_at_one_point_is_closed(sent, monkeypatch):
    monkeypatch.setattr(web, "SECONDS_AT_ONE_POINT", 0.1)
    with serving() as url, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as slow:
        slow.sendall(sent)
        assert closed_after(slow) < 5  # and not at the socket's own limit


def test_a_tls_handshake_that_never_comes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "SECONDS_AT_ONE_POINT", 0.1)
    certificate, key = make_certificate(tmp_path)
    listening = serving(tls_certificate=certificate, tls_key=key)
    with listening as url, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as silent:
        assert closed_after(silent) < 5


def test_clients_that_hang_up_leave_no_line_in_the_log(tmp_path, caplog):
    certificate, key = make_certificate(tmp_path)
    with serving() as url:
        with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as hasty:
            hasty.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        with client(url) as asking:
            assert asking.post("/echo", content=b"x").content == b"x"
    tls = ssl.create_default_context(cafile=str(certificate))
    listening = serving(tls_certificate=certificate, tls_key=key)
    with client("", certificate=certificate) as idle, contextlib.ExitStack() as stack, listening as url:
        idle.get(f"{url}/livez")
        plain = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10)
        mute = stack.enter_context(tls.wrap_socket(plain, server_hostname="127.0.0.1"))
        mute.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert mute.recv(1000).startswith(b"HTTP/1.1 200")  # it never answers the server's goodbye
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_half_a_body_at_the_end_leaves_no_traceback(caplog):
    with contextlib.ExitStack() as stack, serving() as url:
        for _ in range(3):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10))
            slow.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc")
        with client(url) as asking:
            assert asking.post("/echo", content=b"x").content == b"x"
    assert not [record for record in caplog.records if record.exc_info]
    assert "Traceback" not in caplog.text


def trickle(connection):
    for _ in range(500):
        connection.sendall(b"x: y\r\n")
        time.sleep(0.02)


def test_bytes_that_trickle_in_do_not_keep_a_connection(monkeypatch):
    monkeypatch.setattr(web, "SECONDS_AT_ONE_POINT", 0.1)
    with serving() as url, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as slow:
        slow.sendall(b"GET /livez HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            trickle(slow)


def is_let_in(url, certificate=None):
    """Tell whether a server lets somebody in, soon after somebody else has gone."""
    begin = time.monotonic()
    while time.monotonic() < begin + 5:
        with contextlib.suppress(httpx.TransportError), client(url, certificate=certificate) as newcomer:
            return newcomer.get("/livez").status_code == 200
    return False


def test_there_are_only_so_many_connections(monkeypatch):
    monkeypatch.setattr(web, "CONNECTIONS", 2)
    with serving() as url, contextlib.ExitStack() as stack:
        place = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        two = [stack.enter_context(socket.create_connection(place, timeout=10)) for _ in range(2)]
        for one in two:
            one.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert one.recv(1000).startswith(b"HTTP/1.1 200")
        third = stack.enter_context(socket.create_connection(place, timeout=10))
        assert closed_after(third) < 5
        two[0].close()
        assert is_let_in(url)


@pytest.mark.parametrize("has_tls", [False, True])
def test_connections_that_say_nothing_are_counted(tmp_path, monkeypatch, caplog, has_tls):
    monkeypatch.setattr(web, "CONNECTIONS", 5)
    certificate, key = make_certificate(tmp_path)
    tls = {"tls_certificate": certificate, "tls_key": key} if has_tls else {}
    with serving(**tls) as url, contextlib.ExitStack() as stack:
        place = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        silent = [stack.enter_context(socket.create_connection(place, timeout=10)) for _ in range(100)]
        for refused in silent[5:]:
            assert closed_after(refused) < 5
        silent[0].close()
        assert is_let_in(url, certificate)
        for held in silent[1:5]:
            held.setblocking(False)
            with pytest.raises(BlockingIOError):
                held.recv(1)
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == [
        "5 connections are open; more are refused"
    ]


def test_where_descriptors_are_used_up_connections_wait(monkeypatch, caplog):
    accept, failures = socket.socket.accept, iter(range(3))

    def failing(listening):
        if next(failures, None) is not None:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", failing)
    with serving() as url, client(url) as asking:
        assert asking.get("/livez").status_code == 200
    assert next(failures, None) is None
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == [
        "new connections wait: Too many open files"
    ]


def test_connections_leave_files_to_a_run(monkeypatch):
    monkeypatch.setattr(door.resource, "getrlimit", lambda _: (4, 4))
    with serving() as url, contextlib.ExitStack() as stack:
        place = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        silent = [stack.enter_context(socket.create_connection(place, timeout=10)) for _ in range(3)]
        assert closed_after(silent[2]) < 5


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "127.0.0.1:port", ":80", "127.0.0.1:65536"])
def test_addresses_that_are_none(address):
    with pytest.raises(ConfigError, match="listen: expected an address and a port"):
        web.WebServer(web.application({}, None), web.Listen(address), "test")


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä?"])
def test_names_that_cannot_stand_in_a_url(name, tmp_path):
    with pytest.raises(ConfigError, match="--name is a part of URLs"):
        serve(str(tmp_path), web.Listen("127.0.0.1:0"), name)


def test_an_address_that_is_taken():
    with serving() as url, pytest.raises(ConfigError, match=r"can't listen at .*: Address already in use"):
        web.WebServer(web.application({}, None), web.Listen(url.removeprefix("http://")), "test")


def test_certificates_that_are_none(tmp_path):
    certificate, key = make_certificate(tmp_path)
    (tmp_path / "text").write_text("hello")
    for tls_certificate, tls_key in ((certificate, tmp_path / "text"), (tmp_path / "none", key), (certificate, None)):
        listen = web.Listen("127.0.0.1:0", tls_certificate, tls_key)
        with pytest.raises(ConfigError, match="can't be used"):
            web.WebServer(web.application({}, None), listen, "test")
    with pytest.raises(ConfigError, match="tls_key needs a tls_certificate"):
        web.WebServer(web.application({}, None), web.Listen("127.0.0.1:0", None, key), "test")


def test_who_can_be_reached_from_elsewhere_is_warned(caplog):
    with caplog.at_level(logging.WARNING, logger="streammix"):
        with serving():
            pass
        assert not caplog.messages
        with web.WebServer(web.application({}, None), web.Listen("0.0.0.0:0"), "test"):
            pass
    assert caplog.messages == ["test can be reached from other machines, without TLS and a token"]


def test_tokens_come_from_files_and_the_environment(tmp_path, monkeypatch):
    assert web.read_token(None) is None
    monkeypatch.setenv("STREAMMIX_TOKEN", TOKEN)
    assert web.read_token(None) == TOKEN
    (tmp_path / "token").write_text("another-token\n")
    assert web.read_token(tmp_path / "token") == "another-token"
    assert talk.without_secrets("sent another-token") == "sent ***"
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        web.read_token(tmp_path / "nowhere")
    for text in ("", "two words", "é"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(ConfigError, match="must hold one token"):
            web.read_token(tmp_path / "token")
