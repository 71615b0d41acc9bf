from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
KERNELS = ["level_v1.c", "level_v3.c", "level_v4.c", "dispatch.c", "missing.c"]


def extension(name: str, sources: list[str]) -> Extension:
    paths = [f"streammix/core/{source}" for source in sources]
    return Extension(f"streammix.core.{name}", paths, extra_compile_args=FLAGS, libraries=["m"])


setup(ext_modules=[extension("reader", ["reader.pyx"]), extension("engine", ["engine.pyx", *KERNELS])])
