import pytest

from data.text import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n out of range\nand more"), "out of range"),
        (MemoryError(), "MemoryError"),
        (MemoryError("\n"), "MemoryError"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
