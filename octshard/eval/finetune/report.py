"""finetune.html: the page of a fine-tuning, and its figures for a paper. The verdict stands first."""

from collections.abc import Mapping

from octshard.eval import method, score_tables, verdict_section
from octshard.eval.controls import MEANINGS, RANDOM
from octshard.eval.finetune.result import FinetuneResult
from octshard.eval.score_tables import DOTS, readable
from octshard.probes.head import metric
from octshard.report.chart import Chart
from octshard.report.numbers import pluralize
from octshard.report.page import Content, Html, Section, banner, page
from octshard.report.plots import line_plot

RECIPE = (
    "The whole encoder is trained with a linear head on the mean and the standard deviation over the tokens "
    "that hold part of the scan. AdamW; the lr rises to {lr:g} over {warmup_epochs:g} epochs and falls by "
    "half a cosine to 0; that of a layer is {layer_decay:g} times that of the next one; weight decay "
    "{weight_decay:g}. The head alone is trained for {alone}. Batches of {batch} "
    "seeded crops; views {views}; class weights {class_weights}."
)
CHOICE = (
    "The epoch with the best {metric} on val is scored, once, on test, where centre crops are read as "
    "stored; training ends after {patience} epochs that are no better, and after {epochs} in any case. What "
    "is said of the scans of a label is averaged."
)
SHUFFLED = (
    "The shuffled labels of the verdict are those of test, dealt out anew among its people: nothing is "
    "trained for them."
)


def render(result: FinetuneResult) -> str:
    """The page."""
    test = next(count for count in result.counts if count.split == "test")
    classes = f", {len(result.classes)} classes" if result.classes else ""
    lead = (
        f"Can {readable(result.label)} be learned from scans, and does pretraining help? {test.participants} "
        f"test participants, {test.scans} scans{classes}."
    )
    drawn = charts(result)
    of_classes = [
        Section("One class against the rest", (score_tables.per_class(result.classes, result.arms),)),
        Section(
            "Confusion",
            tuple(score_tables.confusion(result.classes, arm, result.config) for arm in result.arms),
        ),
    ]
    sections = [
        Section("Verdict", _verdict(result)),
        Section(
            "Scores on test participants", (*_scores(result), drawn["score"].html(DOTS), *_gains(result))
        ),
        Section("By the epoch", _epochs(result, drawn)),
        Section("Notes", tuple(map(readable, result.notes))),
        *(of_classes if result.classes else []),
        Section(
            "Participants and scans", (score_tables.people(result.counts, result.classes, result.dropped),)
        ),
        Section("How this was measured", (*_method(result), _origin(result))),
    ]
    return page(f"Fine-tuning: {readable(result.label)}", lead, sections)


def charts(result: FinetuneResult) -> Mapping[str, Chart]:
    """Name of the file -> chart."""
    names = {arm.name: f"{arm.name} (best: epoch {arm.choice['epoch']})" for arm in result.arms}
    on_val = {
        names[arm.name]: (
            [trial.setting["epoch"] for trial in arm.trials],
            [trial.score for trial in arm.trials],
        )
        for arm in result.arms
    }
    losses = {name: (list(range(1, len(values) + 1)), list(values)) for name, values in result.losses.items()}
    return {
        "score": score_tables.score_chart({arm.title: arm.score.metrics for arm in result.arms}, result.kind),
        "val": line_plot(on_val, "epoch", f"{metric(result.kind)} on val"),
        "loss": line_plot(losses, "epoch", "loss on train"),
    }


def _verdict(result: FinetuneResult) -> tuple[Content, ...]:
    if not result.comparisons:
        return (banner(result.headline, "unsure"),)
    gains = {name: differences[result.key] for name, differences in result.differences.items()}
    return verdict_section.parts(result.headline, result.comparisons, gains, ())


def _scores(result: FinetuneResult) -> tuple[Html, ...]:
    note = score_tables.draws_note(result.arms, result.kind)
    table = score_tables.metric_table("encoder", {arm.title: arm.score.metrics for arm in result.arms}, note)
    return (table, *score_tables.by_scan("encoder", {arm.title: arm.score for arm in result.arms}))


def _gains(result: FinetuneResult) -> tuple[Html, ...]:
    if not result.differences:
        return ()
    rows = {f"pretrained − {name}": metrics for name, metrics in result.differences.items()}
    note = "Above 0: pretrained is higher (of an error or the Brier score: worse)."
    return (score_tables.metric_table("difference", rows, note),)


def _epochs(result: FinetuneResult, drawn: Mapping[str, Chart]) -> tuple[Content, ...]:
    has_draws = any(len(arm.score.of_runs) > 1 for arm in result.arms)
    several = " Of several draws the first is shown." if has_draws else ""
    return (
        drawn["val"].html(f"The best epoch is the one that is scored.{several}"),
        drawn["loss"].html("Mean over the steps of an epoch, weighted as it is trained."),
    )


def _method(result: FinetuneResult) -> tuple[str, ...]:
    config = result.config
    alone = pluralize(config["unfreeze_epoch"], "epoch")
    parts = [
        f"{RECIPE.format(**config, alone=alone)} {CHOICE.format(**config, metric=metric(result.kind))}",
        method.INTERVALS + method.SCORES[result.kind],
    ]
    if result.comparisons:
        parts += [f"{method.VERDICT} {SHUFFLED} Here p = {result.shuffled_p:.3f}."]
        parts += [f"Control: {RANDOM} is {MEANINGS[RANDOM]}, trained by the same recipe."]
    return tuple(parts)


def _origin(result: FinetuneResult) -> str:
    digest, seed = result.checkpoint_digest[:16], result.config["seed"]
    return f"{result.scored.text()}, sha256 {digest}; seed {seed}."
