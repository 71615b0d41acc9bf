from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-g0", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
KERNELS = ["level_v1.c", "level_v3.c", "level_v4.c", "dispatch.c", "cells.c", "stretch.c"]
SHARED = "streammix.core.shared"  # what the modules of Cython have in common, its memory views above all: written by it


class BuildExtensions(build_ext):
    """Cython first, a file after the other; then the compiler, an extension a core."""

    def build_extensions(self) -> None:
        made = cythonize(self.extensions, force=self.force, quiet=True, shared_utility_qualified_name=SHARED)
        sources = {extension.name: extension.sources for extension in made}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().build_extensions()


def extension(name: str, sources: list[str], optimise: str = "-O3") -> Extension:
    paths = [f"streammix/core/{source}" for source in sources]
    headers = [str(path) for path in Path("streammix/core").glob("*.[hp]*") if path.suffix in {".h", ".pxd", ".pxi"}]
    flags = [optimise, *FLAGS]
    return Extension(f"streammix.core.{name}", paths, extra_compile_args=flags, libraries=["m"], depends=headers)


setup(
    cmdclass={"build_ext": BuildExtensions},
    options={"build_ext": {"parallel": True}},
    ext_modules=[
        extension("engine", ["engine.pyx", *KERNELS]),
        extension("rules", ["rules.pyx"]),
        extension("json_lines", ["json_lines.pyx"]),
        extension("names", ["names.pyx"]),
        extension("lines", ["lines.pyx"]),
        extension("shared", ["shared.c"], "-O1"),
        extension("records", ["records.pyx"]),
        extension("reader", ["reader.pyx"]),
        extension("times", ["times.pyx"], "-O1"),
        extension("values", ["values.pyx"]),
        extension("table", ["table.pyx", "cells.c"]),
    ],
)
