"""Streams on real servers, for the tests: how each kind is filled, read from and written to."""

import asyncio
import json
import time
import uuid

from servers import KafkaBroker, Server, nats_arguments, redis_arguments


class RedisStreams:
    """Redis: one stream of entries in, one out."""

    kind = "redis"

    def __init__(self, directory):
        import redis

        self.server = Server("redis-server", redis_arguments, directory)
        self.url = f"redis://127.0.0.1:{self.server.port}"
        self.client = redis.Redis(port=self.server.port, protocol=2)

    def fill(self, name, values):
        with self.client.pipeline() as together:
            for value in values:
                together.xadd(name, {"data": value} if value is not None else {"other": b"1"})
            together.execute()

    def source(self, name, more=""):
        return f'kind = "redis"\nurl = "{self.url}"\nstream = "{name}"\nfield = "data"\n{more}'

    def sink(self, name):
        return f'[[sink]]\nkind = "redis"\nurl = "{self.url}"\nstream = "{name}"\n'

    def sent(self, name):
        return [json.loads(fields[b"data"]) for _, fields in self.client.xrange(name)]

    def close(self):
        self.client.close()
        self.server.kill()


class NatsStreams:
    """NATS JetStream; there is no sink."""

    kind = "nats"

    def __init__(self, directory):
        self.server = Server("nats-server", nats_arguments, directory)
        self.url = f"nats://127.0.0.1:{self.server.port}"

    def fill(self, name, values):
        asyncio.run(self._fill(name, values))

    async def _fill(self, name, values):
        import nats

        link = await nats.connect(self.url)
        jetstream = link.jetstream()
        await jetstream.add_stream(name=name, subjects=[f"{name}.>"])
        for i in range(0, len(values), 200):
            await asyncio.gather(*(jetstream.publish(f"{name}.a", value or b"") for value in values[i : i + 200]))
        await link.close()

    def source(self, name, more=""):
        return f'kind = "nats"\nservers = "{self.url}"\nstream = "{name}"\n{more}'

    def sink(self, name):
        return ""

    def close(self):
        self.server.kill()


class KafkaTopics:
    """Kafka: topics of three partitions in, of two out."""

    kind = "kafka"

    def __init__(self, directory):
        from confluent_kafka.admin import AdminClient

        self.broker = KafkaBroker(directory)
        self.brokers = self.broker.brokers
        self._admin = AdminClient({"bootstrap.servers": self.brokers})

    def make(self, name, partitions):
        from confluent_kafka.admin import NewTopic

        for future in self._admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result()

    def delete(self, name):
        for future in self._admin.delete_topics([name], operation_timeout=10).values():
            future.result()
        deadline = time.monotonic() + 30
        while name in self._admin.list_topics(timeout=10).topics:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def fill(self, name, values, partitions=3):
        from confluent_kafka import Producer

        if name not in self._admin.list_topics().topics:
            self.make(name, partitions)
        producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 5})
        for i, value in enumerate(values):
            producer.produce(name, value, partition=min(i % 4, partitions - 1))  # the last partition has more
            producer.poll(0)
        assert producer.flush(30) == 0

    def source(self, name, more=""):
        return f'kind = "kafka"\nbrokers = "{self.brokers}"\ntopic = "{name}"\n{more}'

    def sink(self, name):
        return f'[[sink]]\nkind = "kafka"\nbrokers = "{self.brokers}"\ntopic = "{name}"\n'

    def sent(self, name, isolation="read_committed"):
        """Return the messages of a topic, each partition's in order."""
        from confluent_kafka import Consumer, KafkaError, TopicPartition

        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": uuid.uuid4().hex,
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        numbers = consumer.list_topics(name, 10).topics[name].partitions
        consumer.assign([TopicPartition(name, number, 0) for number in numbers])
        found, ended, deadline = [], set(), time.monotonic() + 60
        while len(ended) < len(numbers):
            assert time.monotonic() < deadline
            for message in consumer.consume(1000, 0.1):
                if message.error() is None:
                    found.append((message.partition(), message.offset(), json.loads(message.value())))
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended.add(message.partition())
        consumer.close()
        return [value for _, _, value in sorted(found, key=lambda each: each[:2])]

    def close(self):
        pass
