from collections.abc import Callable
from typing import Any

class Names:
    def __init__(self, decode: Callable[[bytes], Any]) -> None: ...
