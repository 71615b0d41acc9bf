"""How fast streammix is, side by side with what users have today: ``python -m benchmarks --help``.

Importing this package pins the thread pools of numerical libraries to one thread, so it has to come before they do.
"""

import os

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_pool] = "1"
