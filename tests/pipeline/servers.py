"""Real servers for the tests, on free ports of this machine; a test whose server can't be had is skipped by name."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JARS = ROOT / "build" / "kafka"
POM = Path(__file__).parent / "kafka" / "pom.xml"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{secured}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 user_ann="right";
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
"""

# runs a program until the session is over
BESIDE = """session=$1; shift
"$@" >"$0" 2>&1 </dev/null &
program=$!
(while kill -0 $session && kill -0 $program; do sleep 1; done; kill -9 $program) >/dev/null 2>&1 </dev/null &
"""


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for_port(port, seconds, log=None):
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, log.read_text()[-2000:] if log else "it does not answer"
        time.sleep(0.05)


class Server:
    """A server in a process of its own, which can be killed and started again where it stood.

    Parameters
    ----------
    program
        Its name, and where Debian puts it.
    arguments
        Given a port and a directory.
    """

    def __init__(self, program, arguments, directory):
        self._program = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
        if self._program is None:
            pytest.skip(f"there is no {program} on this machine")
        self.port = free_port()
        self._arguments = [str(argument) for argument in arguments(self.port, directory)]
        self._process = None
        self.start()

    def start(self):
        """Start it."""
        self._process = subprocess.Popen(
            [self._program, *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for_port(self.port, 30)

    def kill(self):
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()


def redis_arguments(port, directory):
    """Redis that keeps everything it acknowledges."""
    return [
        *("--port", port, "--bind", "127.0.0.1", "--dir", directory),
        *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    ]


def nats_arguments(port, directory):
    """NATS with JetStream."""
    return ["-js", "-sd", directory, "-a", "127.0.0.1", "-p", port]


def kafka_jars():
    """Return the directory of Kafka's jars, got by Maven once; skip where there is none."""
    if shutil.which("java") is None:
        pytest.skip("there is no java on this machine for a Kafka broker")
    if not any(JARS.glob("kafka_2.13-*.jar")):
        if shutil.which("mvn") is None:
            pytest.skip("there is no mvn on this machine to get a Kafka broker with")
        command = ["mvn", "-q", "-B", "-f", POM, COPY, f"-DoutputDirectory={JARS}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, timeout=400)
        if done.returncode:
            pytest.skip(f"Maven can't get a Kafka broker: {done.stdout.decode()[:200]}")
    return JARS


class KafkaBroker:
    """One broker for all test processes of a session: the first that asks starts it, and it ends with the session."""

    def __init__(self, directory):
        place = directory / "kafka.json"
        with open(directory / "kafka.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                place.write_text(json.dumps(start_kafka(directory)))
        ports = json.loads(place.read_text())
        self.brokers = f"127.0.0.1:{ports['port']}"
        self.secured = f"127.0.0.1:{ports['secured']}"


def start_kafka(directory):
    """Start a broker beside this session; return its ports."""
    jars = kafka_jars()
    ports = {name: free_port() for name in ("port", "secured", "controller")}
    properties = directory / "server.properties"
    properties.write_text(PROPERTIES.format(data=directory / "kafka-log", **ports))
    java = ["java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
    form = ["kafka.tools.StorageTool", "format", "--standalone", "-t", "c3RyZWFtbWl4LXRlc3RzLQ", "-c", properties]
    subprocess.run([*java, *form], check=True, capture_output=True, timeout=120)
    session = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    log = directory / "kafka.txt"
    subprocess.run(["sh", "-c", BESIDE, log, str(session), *java, "kafka.Kafka", properties], check=True)
    wait_for_port(ports["port"], 120, log)
    return ports
