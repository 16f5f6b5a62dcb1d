"""Word to somewhere else when a study ends, so that nobody has to wait at a terminal.

An address that begins with http:// or https:// gets one POST with a JSON object; its `text` is what the webhooks of
Slack and Mattermost show. Any other address is one of apprise's (extra `notify`): `mailto://`, `tgram://`, `dbus://`
for a desktop; https://github.com/caronc/apprise lists them. Nothing that goes wrong here touches the study: it is one
line on stderr, and no line holds more of the address than says where it leads, because the rest is often a secret.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal
from urllib.parse import urlsplit

import requests

from data.errors import SieveError, UserError
from search.durations import show_duration
from search.store.states import RunEnding
from search.terminal import say
from search.verdict.result import StudyResult

ANSWER_S = 5.0
"""For each of: the connection, and the first byte of the answer."""
PATIENCE_S = 10.0
"""For all of it, however slowly names are resolved and answers trickle in."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a study ended; its fields are those of the JSON object."""

    study: str
    outcome: RunEnding
    champion: str | None
    """The model's address in MLflow."""
    val: float | None
    """The champion's validation accuracy, mean over seeds."""
    test: float | Literal["sealed"]
    wall_s: float
    text: str


def check_address(url: str) -> None:
    """Raise UserError for an address that nothing here can reach. Sends nothing."""
    place = where(url)
    if "://" not in url or (_is_webhook(url) and not urlsplit(url).hostname):
        raise UserError(f"--notify {place}: write https://HOST/PATH, or an address of apprise such as mailto://...")
    if _is_webhook(url):
        return
    try:
        import apprise
    except ImportError:
        raise UserError(f"--notify {place}: needs apprise; pip install 'sieve-search[notify]'") from None
    if not apprise.Apprise().add(url):
        raise UserError(f"--notify {place}: apprise does not understand the rest of this address")


def where(url: str) -> str:
    """The address as far as it may be shown: a webhook's host; of the others, whose host may be a token, the kind."""
    scheme, found, _ = url.partition("://")
    if not found:
        return "ADDRESS"
    return f"{scheme}://{urlsplit(url).hostname or ''}/..." if _is_webhook(url) else f"{scheme}://..."


def notify_result(url: str | None, result: StudyResult) -> None:
    """Send the result of a study that has named its champion."""
    champion, test = result.champion, result.test
    told = "sealed" if test is None else f"{test.accuracy:.4f}"
    text = (
        f"{result.study} is done after {show_duration(result.wall_s)}: "
        f"validation {champion.val_accuracy:.4f}, "
        f"mean of {len(champion.val_accuracy_seeds)} runs; test {told}; {champion.model_uri}"
    )
    ending = Ending(
        study=result.study,
        outcome="done",
        champion=champion.model_uri,
        val=champion.val_accuracy,
        test="sealed" if test is None else test.accuracy,
        wall_s=result.wall_s,
        text=text,
    )
    tell(url, ending)


@contextmanager
def notify_bad_end(url: str | None, study: str) -> Iterator[None]:
    """Tell of a study that is stopped or fails inside; the error goes on as it came."""
    started_at = time.monotonic()
    try:
        yield
    except BaseException as error:
        wall_s = time.monotonic() - started_at
        if isinstance(error, KeyboardInterrupt):
            outcome: RunEnding = "stopped"
            text = f"{study} was stopped after {show_duration(wall_s)}; the same command goes on where it was"
        else:
            outcome = "failed"
            # The message of an error that is a bug may hold anything; its traceback stays with the command.
            reason = str(error) if isinstance(error, SieveError) else type(error).__name__
            text = f"{study} failed after {show_duration(wall_s)}: {reason}"
        tell(
            url,
            Ending(
                study=study, outcome=outcome, champion=None, val=None, test="sealed", wall_s=round(wall_s, 3), text=text
            ),
        )
        raise


def tell(url: str | None, ending: Ending) -> None:
    """Send an ending, if there is an address for it; returns after at most `PATIENCE_S`, whatever happens."""
    if url is None:
        return
    problems = [f"no answer within {PATIENCE_S:g} s"]
    sending = threading.Thread(target=_send, args=(url, ending, problems), daemon=True)
    sending.start()
    sending.join(PATIENCE_S)
    if problems:
        say(f"--notify {where(url)}: {problems[-1]}; nobody was told that {ending.study} is {ending.outcome}")


def _send(url: str, ending: Ending, problems: list[str]) -> None:
    """Empties `problems` once the word is out, or adds what went wrong."""
    try:
        if _is_webhook(url):
            answer = requests.post(url, json=asdict(ending), timeout=ANSWER_S, allow_redirects=False, stream=True)
            answer.close()
            if not 200 <= answer.status_code < 300:
                problems.append(f"answered {answer.status_code} {answer.reason}")
                return
        else:
            import apprise

            messenger = apprise.Apprise()
            messenger.add(url)
            if not messenger.notify(body=ending.text, title=f"Sieve: {ending.study} is {ending.outcome}"):
                problems.append("apprise could not deliver it")
                return
    except Exception as error:  # Of any kind: the study is over, and must not fail for want of a messenger.
        problems.append(type(error).__name__)  # Its message would hold the whole address.
        return
    problems.clear()


def _is_webhook(url: str) -> bool:
    return url.startswith(("http://", "https://"))
