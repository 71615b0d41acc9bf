"""The sections of the configuration: what each table may hold."""

from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "LONGEST",
    "SECTIONS",
    "CheckpointSection",
    "DeadLetterSection",
    "FaultsSection",
    "MetricsSection",
    "ModelSection",
    "Positive",
    "Seconds",
    "Secret",
    "SecretSection",
    "Section",
    "Setting",
    "Text",
    "Topic",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Topic = Annotated[str, msgspec.Meta(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$")]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
LONGEST = 1 << 20


class Section(msgspec.Struct, forbid_unknown_fields=True):
    """A table of the configuration; its attributes are the table's keys."""


class SecretSection(Section):
    """A secret, ``{ env = "NAME" }`` or ``{ file = "path" }``: never the secret itself.

    Parameters
    ----------
    env
        The variable of the environment that holds it.
    file
        The file that holds it; line ends at its end don't count.
    """

    env: str | None = None
    file: str | None = None


Secret = str | SecretSection  # text is refused in our own words
Setting = str | int | float | bool | SecretSection


class ModelSection(Section):
    """``[model]``: the arguments of `Mixture` or `AutoMixture`, as TOML can hold them.

    Parameters
    ----------
    kind
        ``"plain"`` for a `Mixture`, ``"auto"`` for an `AutoMixture`.
    n_components
        A number; of ``"auto"`` also the fewest and the most: ``[1, 10]``.
    drift, background
        As in `AutoMixture`; a half-life is ``{ records = 20_000 }`` or ``{ time = "2h", field = "at" }``.
    fields, components
        A family is its name or a table: ``amount = "LogNormal"``, ``heads = { family = "Binomial", n = 10 }``. A key
        with a comma names several fields: ``"lat, lon" = "MultivariateNormal"``.
    step_size
        Likewise: ``"RunningMean"``, ``{ step_size = "PowerDecay", alpha = 0.7 }`` or
        ``{ step_size = "HalfLife", time = "2h", field = "at" }``.
    weights, batch_size, warm_up, averaging, seed, infer
        As in `Mixture`; `AutoMixture` has but the last two and warm_up.
    """

    kind: Literal["plain", "auto"] = "plain"
    n_components: int | Annotated[list[int], msgspec.Meta(min_length=2, max_length=2)] = 3
    fields: dict[str, str | dict[str, Any]] | None = None
    components: list[dict[str, str | dict[str, Any]]] | None = None
    weights: list[float] | None = None
    step_size: str | dict[str, Any] = "PowerDecay"
    batch_size: int = 1
    warm_up: int | None = None
    averaging: bool = False
    seed: int | None = None
    infer: bool = False
    drift: str | dict[str, Any] | None = None
    background: bool | None = None


class CheckpointSection(Section):
    """``[checkpoint]``.

    Parameters
    ----------
    directory
        Where checkpoints are written, by one run at a time: a directory, or ``s3://bucket/prefix``.
    every_records
        A checkpoint is written after so many records of the stream, refused ones counted, and at the end.
    every_seconds
        A checkpoint is also written when there is something new and the last one is so old; 60 where left out for
        sources that never end, otherwise no checkpoint goes by the clock.
    keep
        How many checkpoints are kept.
    """

    directory: str = "state"
    every_records: Positive = 10_000
    every_seconds: Seconds | None = None
    keep: Positive = 5


class MetricsSection(Section):
    """``[metrics]``: an HTTP server with ``/metrics`` for Prometheus, ``/livez`` and ``/readyz``.

    Parameters
    ----------
    listen
        Its address and port; port 0 takes a free one. Beyond this machine only if it says so: ``0.0.0.0:9464``.
    tls_certificate, tls_key
        Files, in PEM; then it speaks HTTPS alone.
    token_file
        A file with the bearer token that ``/metrics`` then asks for; or it stands in the environment, as
        ``STREAMMIX_TOKEN``.
    """

    listen: str = "127.0.0.1:9464"
    tls_certificate: str | None = None
    tls_key: str | None = None
    token_file: str | None = None


class DeadLetterSection(Section):
    """``[dead_letter]``.

    Parameters
    ----------
    path
        The file for refused records; ``_dead-letter.ndjson`` in the checkpoint directory where left out, or beside
        the configuration where checkpoints are on object storage.
    topic
        A topic of Kafka in place of a file.
    brokers, settings
        As in `KafkaSection`, the source's where left out.
    """

    path: Text | None = None
    topic: Topic | None = None
    brokers: Text | None = None
    settings: dict[str, Setting] | None = None


class FaultsSection(Section):
    """``[faults]``: when something outside fails that may come back, such as a full disk.

    Parameters
    ----------
    patience_seconds
        How long to try again before the run fails; left out, for ever where the source never ends, otherwise a minute.
    """

    patience_seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None


SECTIONS = ("source", "model", "checkpoint", "sink", "dead_letter", "faults", "metrics")
