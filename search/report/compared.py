"""Studies side by side: what is the same in them, and the differences between their champions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from scipy import stats

from search.report.facts import StudyFacts
from search.report.html_tables import tried
from search.report.metric import Metric, percent, plural, show_time, show_value
from search.report.observations import planned_epochs
from search.report.spent import worker_hours
from search.report.table import Cell, Table, text_cell
from search.store.seal import describe_look, describe_unfinished
from search.verdict.champion import CONFIDENCE, mean_interval


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first study's champion minus the second's, in the metric of both."""

    first: str
    second: str
    metric: Metric
    """The metric of the first study, which is that of both if they can be compared."""
    estimate: float | None
    """Difference of the means; None if the two cannot be compared."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None with a single run."""
    how: str
    """How the difference was estimated, or why it was not, as a sentence."""

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def differences(studies: Sequence[StudyFacts]) -> list[Difference]:
    """The difference of each pair of champions."""
    return [_difference(first, second) for first, second in combinations(studies, 2)]


def _difference(first: StudyFacts, second: StudyFacts) -> Difference:
    def found(how: str, estimate: float | None = None, interval: tuple[float, float] | None = None) -> Difference:
        return Difference(
            first=first.record.name, second=second.record.name, metric=first.metric,
            estimate=estimate, interval=interval, how=how,
        )  # fmt: skip

    if not first.finalists or not second.finalists:
        return found("At least one of the two has no confirmed champion yet.")
    if first.metric.name != second.metric.name:
        return found(f"They optimise different metrics: {first.metric.label} and {second.metric.label}.")
    if not same_images(first, second):
        return found("They were validated on different images, so their values are not comparable.")
    ours, theirs = first.finalists[0].values, second.finalists[0].values
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) > 1:
        pairs = [ours[seed] - theirs[seed] for seed in shared]
        how = f"Paired over {len(shared)} training seeds that both used, on the same validation images."
        return found(how, sum(pairs) / len(pairs), mean_interval(pairs))
    means = pd.Series(ours).mean() - pd.Series(theirs).mean()
    if len(ours) == len(theirs) == 1:
        return found(f"A run each, on {'the same seed' if shared else 'different seeds'}: no interval.", float(means))
    if min(len(ours), len(theirs)) == 1:
        return found(f"{plural(len(ours), 'run')} against {plural(len(theirs), 'run')}: no interval.", float(means))
    low, high = stats.ttest_ind(list(ours.values()), list(theirs.values()), equal_var=False).confidence_interval(
        CONFIDENCE
    )
    seeds = "they share a single training seed" if shared else "their training seeds differ"
    how = f"Not paired, because {seeds} (Welch's interval); the validation images are the same."
    return found(how, float(means), (float(low), float(high)))


def same_images(first: StudyFacts, second: StudyFacts) -> bool:
    """Whether both studies trained and validated on the same images with the same split, by their hashes."""
    ours, theirs = first.record.data, second.record.data
    return (ours.fingerprint, ours.split_hash) == (theirs.fingerprint, theirs.split_hash)


def champions_table(studies: Sequence[StudyFacts]) -> Table:
    """A row for each study: its champion's mean, its test accuracy, its cost."""
    labels = {facts.metric.label for facts in studies}
    metric = labels.pop() if len(labels) == 1 else "each study's metric"
    rows = []
    for facts in studies:
        own, best = facts.metric, facts.finalists[0] if facts.finalists else None
        hours, unit = worker_hours(facts)
        where = " on GPUs" if unit == "GPU-hours" else ""
        test = facts.test
        tested = describe_unfinished(facts.looks)
        if test is not None:
            tested = f"{percent(test.accuracy, own.digits)} ({describe_look(test)})"
        rows.append(
            (
                text_cell(facts.record.name),
                Cell(text=own.show(best.mean), key=best.mean) if best else text_cell("-"),
                text_cell(own.show_interval(best.interval) if best else "-"),
                text_cell(plural(len(best.values), "seed") if best else "-"),
                text_cell(tested),
                Cell(text=f"{len(facts.trials):,}", key=float(len(facts.trials))),
                Cell(text=f"{len(facts.epochs):,}", key=float(len(facts.epochs))),
                Cell(text=f"{show_time(3600 * hours)}{where}", key=hours),
            )
        )
    return Table(
        caption=(
            "The mean of each champion's runs on fresh seeds with its 95 % interval, and what the whole study cost, "
            "confirmation included. The test accuracy is that of the registered classifier."
        ),
        headings=("study", metric, "95 % interval", "mean of", "test accuracy", "trials", "epochs", "worker time"),
        rows=tuple(rows),
    )


def differences_table(found: Sequence[Difference]) -> Table:
    """A row for each pair of champions."""
    rows = []
    for one in found:
        unit = " points" if one.metric.is_share else ""
        size = "-" if one.estimate is None else f"{one.metric.signed(one.estimate)}{unit}"
        interval = "-" if one.interval is None else one.metric.show_signed(*one.interval)
        verdict = "-" if one.interval is None else "clear" if one.is_clear else "not clear"
        cells = (f"{one.first} minus {one.second}", size, interval, verdict, one.how)
        rows.append(tuple(text_cell(text) for text in cells))
    return Table(
        caption=(
            "The first champion minus the second, with its 95 % interval (Student's t), not corrected for several "
            "comparisons. The difference is clear if the interval does not contain zero."
        ),
        headings=("champions", "difference", "95 % interval", "verdict", "how"),
        rows=tuple(rows),
    )


def data_table(studies: Sequence[StudyFacts]) -> Table:
    """What identifies the images of each study, and whether it agrees with the first study's."""
    rows = []
    for label, hashes in (
        ("images", [facts.record.data.fingerprint for facts in studies]),
        ("split", [facts.record.data.split_hash for facts in studies]),
        ("test images", [facts.record.data.sealed_fingerprint for facts in studies]),
    ):
        agree = "the same" if len(set(hashes)) == 1 else "different"
        rows.append((text_cell(label), text_cell(agree), *(text_cell(value[:12] or "-") for value in hashes)))
    for label, values in (
        ("source", [facts.record.data.spec.source for facts in studies]),
        ("training images", [f"{facts.record.data.train:,}" for facts in studies]),
        ("validation images", [f"{facts.record.data.val:,}" for facts in studies]),
        ("metric", [facts.metric.label for facts in studies]),
    ):
        agree = "the same" if len(set(values)) == 1 else "different"
        rows.append((text_cell(label), text_cell(agree), *map(text_cell, values)))
    return Table(
        caption="Images and split are the same if their hashes are; the first twelve characters are shown.",
        headings=("data", "in all studies", *(facts.record.name for facts in studies)),
        rows=tuple(rows),
    )


def spaces_table(studies: Sequence[StudyFacts]) -> Table:
    """The searched fields whose ranges differ, and the values that each study tried or fixed."""
    fields = dict.fromkeys(field for facts in studies for field in facts.searched)
    rows = []
    for field in fields:
        values = [_tried_or_fixed(facts, field) for facts in studies]
        if len(set(values)) > 1:
            rows.append(tuple(map(text_cell, (field, *values))))
    same = len(fields) - len(rows)
    return Table(
        caption=(
            "Hyperparameters that the studies search differently, stage by stage; = marks a value that a study fixes. "
            f"{plural(same, 'other hyperparameter')} {'has' if same == 1 else 'have'} the same ranges in all studies."
        ),
        headings=("hyperparameter", *(facts.record.name for facts in studies)),
        rows=tuple(rows),
    )


def _tried_or_fixed(facts: StudyFacts, field: str) -> str:
    if searched := tried(facts, field):
        return searched
    config = facts.record.definition.config
    return f"= {show_value(config[field])}" if field in config else "-"


def course(facts: StudyFacts) -> pd.DataFrame:
    """The trials of the search in the order in which they ended: `worker_s` and `epochs` spent by then, `best` value.

    The confirmation is left out. The best value is that of complete trials.
    """
    searched = facts.trials[facts.trials["stage"].isin([stage.name for stage in facts.stages])]
    ended = searched[searched["finished_at"].notna()].sort_values("finished_at")
    values = ended["value"].where(ended["state"] == "complete")
    best = values.cummax() if facts.metric.maximize else values.cummin()
    return pd.DataFrame(
        {
            "worker_s": ended["duration_s"].fillna(0).cumsum(),
            "epochs": ended["epochs"].cumsum(),
            "best": best.ffill(),
        }
    ).reset_index(drop=True)


def remarks(studies: Sequence[StudyFacts]) -> Iterator[str]:
    """Sentences on what limits the comparison."""
    names = [facts.record.name for facts in studies]
    for first, second in combinations(studies, 2):
        if not same_images(first, second):
            yield (
                f"{first.record.name} and {second.record.name} do not share their images or their split: their values "
                "are not comparable."
            )
    confirmed = {facts.record.name: planned_epochs(facts.confirmation) for facts in studies if facts.confirmation}
    if len(set(confirmed.values())) > 1:
        listed = ", ".join(f"{name} {epochs}" for name, epochs in confirmed.items())
        yield f"Longer training alone gives better values, and the champions' runs differ in epochs ({listed})."
    looked: dict[str, list[str]] = {}
    for facts in studies:
        if facts.looks:
            looked.setdefault(facts.record.data.sealed_fingerprint, []).append(facts.record.name)
    for those in looked.values():
        if len(those) > 1:
            yield (
                f"{', '.join(those)} looked at the same test images. If you choose between them by these accuracies, "
                "the chosen accuracy is no longer an unbiased estimate."
            )
    if unfinished := [name for name, facts in zip(names, studies, strict=True) if facts.record.state != "done"]:
        yield f"Not finished: {', '.join(unfinished)}."
