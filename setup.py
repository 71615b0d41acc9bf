from pathlib import Path

from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
KERNELS = ["level_v1.c", "level_v3.c", "level_v4.c", "dispatch.c", "cells.c", "stretch.c"]


def extension(name: str, sources: list[str]) -> Extension:
    paths = [f"streammix/core/{source}" for source in sources]
    headers = [str(path) for path in Path("streammix/core").glob("*.[hp]*") if path.suffix in {".h", ".pxd", ".pxi"}]
    return Extension(f"streammix.core.{name}", paths, extra_compile_args=FLAGS, libraries=["m"], depends=headers)


setup(
    ext_modules=[
        extension("values", ["values.pyx"]),
        extension("times", ["times.pyx"]),
        extension("rules", ["rules.pyx"]),
        extension("reader", ["reader.pyx"]),
        extension("structs", ["structs.pyx"]),
        extension("table", ["table.pyx", "cells.c"]),
        extension("engine", ["engine.pyx", *KERNELS]),
        extension("records", ["records.pyx"]),
    ]
)
