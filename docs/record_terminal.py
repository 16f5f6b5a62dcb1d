"""Records a command on a terminal: `python docs/record_terminal.py [FOLDER]` makes docs/recording.gif.

It runs the quickstart in a pseudo-terminal, as a person would see it, and keeps a frame whenever the screen changes.
With FOLDER, the command runs there and leaves its study below `runs`.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import pyte
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 112, 30
FRAME_S = 0.5
"""Seconds between two frames at least: a smaller file, and still a moving bar."""
LAST_S = 6.0
SPEED = 5.0
"""The recording plays this much faster than it happened."""
FONT_PX, PAD = 13, 12
PAPER, INK = (20, 23, 27), (228, 231, 235)
COLOURS = {"green": (108, 199, 161), "magenta": (207, 140, 222), "cyan": (127, 180, 234), "red": (240, 110, 110)}
TARGET = Path(__file__).with_name("recording.gif")
COMMAND = ("sieve", "run", "--study", "quickstart", "--test")


def record(command: tuple[str, ...], folder: Path) -> list[tuple[float, Image.Image]]:
    """The frames of a command that runs in a folder, with the seconds for which each is shown."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {' '.join(command)}\r\n".encode())
    outer, inner = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    environment.pop("SIEVE_HOME", None)  # The default, a folder in the working folder, makes a short path.
    process = subprocess.Popen(
        [sys.executable, "-m", "search", *command[1:]],
        stdin=inner, stdout=inner, stderr=inner, env=environment, cwd=folder,
    )  # fmt: skip
    os.close(inner)
    frames: list[tuple[float, Image.Image]] = []
    shown, shown_at = "", time.monotonic()
    while True:
        ready = select.select([outer], [], [], FRAME_S / 5)[0]
        if ready:
            try:
                stream.feed(os.read(outer, 65536))
            except OSError:  # The command has ended and closed its terminal.
                break
        elif process.poll() is not None:
            break
        now, text = time.monotonic(), "\n".join(screen.display)
        if text != shown and now - shown_at >= FRAME_S:
            frames.append((now - shown_at, draw(screen)))
            shown, shown_at = text, now
    frames.append((LAST_S * SPEED, draw(screen)))
    return frames


def draw(screen: pyte.Screen) -> Image.Image:
    """The screen as a picture."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf"), FONT_PX)
    width, height = font.getlength("M"), FONT_PX + 4
    image = Image.new("RGB", (round(COLUMNS * width) + 2 * PAD, ROWS * height + 2 * PAD), PAPER)
    pen = ImageDraw.Draw(image)
    for row in range(ROWS):
        for column, cell in screen.buffer[row].items():
            if cell.data.strip():
                place = (PAD + column * width, PAD + row * height)
                pen.text(place, cell.data, font=font, fill=COLOURS.get(cell.fg, INK))
    return image


def main() -> None:
    """Write the recording."""
    with tempfile.TemporaryDirectory() as scratch:
        frames = record(COMMAND, Path(sys.argv[1] if len(sys.argv) > 1 else scratch))
    pictures = [picture.quantize(12, dither=Image.Dither.NONE) for _, picture in frames]
    durations = [max(60, round(1000 * seconds / SPEED)) for seconds, _ in frames]
    pictures[0].save(TARGET, save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
    print(f"{TARGET}: {len(frames)} frames, {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
