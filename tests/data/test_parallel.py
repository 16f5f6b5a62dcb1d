import threading

import pytest

from data.layout import ImageFile
from data.parallel import map_files

FILES = [ImageFile(f"{number}.png", 0, "train", 100_000, 0) for number in range(1000)]


def test_results_come_in_order_and_progress_ends_at_all() -> None:
    calls: list[tuple[str, int, int]] = []
    chunks = map_files(list, FILES, label="reading", progress=lambda *call: calls.append(call))
    assert [file for chunk in chunks for file in chunk] == FILES
    assert calls[0] == ("reading", 64, 1000) and calls[-1] == ("reading", 1000, 1000)


def test_an_error_is_raised_here_and_ends_the_threads() -> None:
    def fail(chunk: object) -> None:
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        list(map_files(fail, FILES, label="", progress=None))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sieve-data")]


def test_a_reader_that_stops_ends_the_work() -> None:
    begun: list[object] = []
    chunks = map_files(begun.append, FILES, label="", progress=None, chunk_size=1)
    next(chunks)
    chunks.close()
    assert len(begun) < len(FILES)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sieve-data")]
