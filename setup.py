from setuptools import Extension, setup

FLAGS = ["-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
SOURCES = ["engine.pyx", "level_v1.c", "level_v3.c", "level_v4.c", "dispatch.c"]

setup(
    ext_modules=[
        Extension(
            "streammix.core.engine",
            [f"streammix/core/{name}" for name in SOURCES],
            extra_compile_args=FLAGS,
            libraries=["m"],
        )
    ]
)
