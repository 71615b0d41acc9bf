"""All kinds of streams, by name."""

from benchmarks.quality.changing import CHANGING
from benchmarks.quality.gaussians import GAUSSIANS
from benchmarks.quality.mixed import MIXED
from benchmarks.quality.rounded import ROUNDED
from benchmarks.quality.streams import Kind

__all__ = ["KINDS"]

KINDS: dict[str, Kind] = {**GAUSSIANS, **CHANGING, **MIXED, **ROUNDED}
