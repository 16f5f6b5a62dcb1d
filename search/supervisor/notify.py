"""Sends a notification when a study ends, so that nobody has to wait at a terminal.

An address that begins with http:// or https:// receives one POST with a JSON object; the webhooks of Slack and
Mattermost show its `text`. Any other address is passed to apprise (extra `notify`): `mailto://`, `tgram://`, `dbus://`
for a desktop; https://github.com/caronc/apprise lists them. An error here never affects the study. It is one line on
stderr that shows the kind and the host of the address at most, because the rest is often a secret.
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
from search.timing import DEFAULT_TIMING, Timing
from search.verdict.result import StudyResult


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a study ended; its fields are those of the JSON object."""

    study: str
    outcome: RunEnding
    champion: str | None
    """The address of the registered model in MLflow; None if there is no champion."""
    val: float | None
    """The champion's validation accuracy, mean over seeds; None if there is no champion."""
    test: float | Literal["sealed"]
    wall_s: float
    text: str


def check_address(url: str) -> None:
    """Raise UserError for an address that cannot be notified. Sends nothing."""
    place = where(url)
    if "://" not in url or (_is_webhook(url) and not urlsplit(url).hostname):
        raise UserError(f"--notify {place}: give https://HOST/PATH, or an address for apprise, e.g. mailto://...")
    if _is_webhook(url):
        return
    try:
        import apprise
    except ImportError:
        raise UserError(f"--notify {place}: needs apprise; pip install 'sieve-search[notify]'") from None
    if not apprise.Apprise().add(url):
        raise UserError(f"--notify {place}: apprise cannot read the rest of this address")


def where(url: str) -> str:
    """The part of an address that may be shown: a webhook's host, or only the scheme of another address."""
    scheme, found, _ = url.partition("://")
    if not found:
        return "ADDRESS"
    return f"{scheme}://{urlsplit(url).hostname or ''}/..." if _is_webhook(url) else f"{scheme}://..."


def notify_result(url: str | None, result: StudyResult) -> None:
    """Send a notification for a study that has named its champion."""
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
    send(url, ending)


@contextmanager
def notify_bad_end(url: str | None, study: str) -> Iterator[None]:
    """Send a notification if the study is stopped or fails inside the context; the error is raised again."""
    started_at = time.monotonic()
    try:
        yield
    except BaseException as error:
        wall_s = time.monotonic() - started_at
        if isinstance(error, KeyboardInterrupt):
            outcome: RunEnding = "stopped"
            text = f"{study} was stopped after {show_duration(wall_s)}; the same command resumes it"
        else:
            outcome = "failed"
            # The message of a bug may contain anything, a secret included, so only its type is sent.
            reason = str(error) if isinstance(error, SieveError) else type(error).__name__
            text = f"{study} failed after {show_duration(wall_s)}: {reason}"
        send(
            url,
            Ending(
                study=study, outcome=outcome, champion=None, val=None, test="sealed", wall_s=round(wall_s, 3), text=text
            ),
        )
        raise


def send(url: str | None, ending: Ending, timing: Timing = DEFAULT_TIMING) -> None:
    """Send a notification, unless `url` is None. Returns within the time limit and never raises."""
    if url is None:
        return
    problems = [f"no answer within {timing.notify_s:g} s"]
    sending = threading.Thread(target=_send, args=(url, ending, problems, timing.notify_answer_s), daemon=True)
    sending.start()
    sending.join(timing.notify_s)
    if problems:
        say(f"--notify {where(url)}: {problems[-1]}; no notification was sent: {ending.study} is {ending.outcome}")


def _send(url: str, ending: Ending, problems: list[str], answer_s: float) -> None:
    """Clears `problems` when the notification is delivered, or adds what went wrong."""
    try:
        if _is_webhook(url):
            answer = requests.post(url, json=asdict(ending), timeout=answer_s, allow_redirects=False, stream=True)
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
    except Exception as error:  # Of any kind: a notification must not make a finished study fail.
        problems.append(type(error).__name__)  # The message would contain the whole address.
        return
    problems.clear()


def _is_webhook(url: str) -> bool:
    return url.startswith(("http://", "https://"))
