"""The disk of the home is full when a command begins to register the champion, and when it begins to write a report.

A file `ballast` in the home takes all space that is left.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.report import make
from search.supervisor import promotion


def _on_a_full_disk(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        with (Path(os.environ["SIEVE_HOME"]) / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
        return function(*arguments, **keywords)

    return call


promotion.promote = _on_a_full_disk(promotion.promote)
make._write_whole = _on_a_full_disk(make._write_whole)
