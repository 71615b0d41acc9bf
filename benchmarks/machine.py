"""The machine and the software that a measurement was made with: no names, no paths."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from streammix.core import engine

__all__ = ["describe"]

PACKAGES = (
    "streammix",
    "numpy",
    "scipy",
    "pyarrow",
    "river",
    "msgspec",
    "scikit-learn",
    "pomegranate",
    "torch",
    "stepmix",
    "pandas",
    "polars",
)


def describe() -> dict[str, str]:
    """Return what matters of the machine, by name."""
    info = _cpu_info()
    flags = info.get("flags", "").split()
    widths = [name for name in ("avx2", "avx512f") if name in flags]
    return {
        "processor": info.get("model name", platform.machine()),
        "family, model": f"{info.get('cpu family', '?')}, {info.get('model', '?')}",
        "cores": str(os.cpu_count()),
        "caches": _caches(),
        "vectors": ", ".join(widths) or "baseline",
        "level in use": engine.level_name(),
        "system": platform.system(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "core compiled by": _compiler(),
        "threads": "1 a numerical library",
        "load at the start": f"{os.getloadavg()[0]:.1f}",
        **{name: _version(name) for name in PACKAGES},
    }


def _cpu_info() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> str:
    sizes = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            sizes.append(f"L{level} {size}")
    return ", ".join(sizes) or "unknown"


def _compiler() -> str:
    """The compiler's own mark in the compiled core."""
    found = re.search(rb"(GCC: \([^)]*\) [\d.]+|clang version [\d.]+)", Path(engine.__file__).read_bytes())
    return found.group().decode() if found else platform.python_compiler() + " (Python's own)"


def _version(package: str) -> str:
    if package == "streammix":
        import streammix

        return streammix.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
