"""Which recipe to train by: objectives and masks on the same made-up eyes, with the same optimizer.

    python benchmarks/recipes.py --work recipes --json recipes.json

A row is one run: a recipe, a training seed, and a budget. It is kept in WORK/rows.jsonl as soon as it is
made, and a second call makes the rows that are missing; one that was cut off goes on from its checkpoint.

Every recipe sees the same number of samples. One whose sample costs other FLOPs than the default's has more
rows, at the default's FLOPs. Judged are frozen features, mean and standard deviation over the tokens of one
scan of each test person: macro AUROC of study_group and R2 of the thickness of the nerve fibres, as the
phantom knows it. Beside them: the encoder at random, and raw intensities. Intervals are over test people
(95 %, bootstrap, the same resamples everywhere), of the mean over seeds; the spread is over seeds.

The rule, written before any run:

1. The first number is AUROC at equal samples. A recipe is better than another if the interval of the
   difference of their means over seeds does not hold 0, and the difference is more than twice its standard
   error over seeds.
2. Best is the recipe with the highest mean. It is the winner if it is better than the default (`vjepa2,
   blocks`) and, where it has rows at equal FLOPs, its mean there is not below the default's.
3. Else the same is asked of R2, among the recipes than which none is better by AUROC.
4. Else the default stays.
5. A winner that is not better than raw intensities, in the number that decided, is said to be none.

`lr` asks which learning rate holds at the depth of ViT-S and ViT-B: the same run, 12 blocks deep, at several
rates, validated after every pass. A rate holds if the skill at the end is within 0.05 of the best on the way,
with every seed: a loss that rises against the position-only level is a run that comes apart. Of those that
hold the one with the highest skill at the end is the fastest.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from command import benchmark
from recipe_data import Eyes, make_eyes
from recipe_rows import Plan, Recipe, make_rows, plan_rows
from recipe_table import lr_tables, tables
from table import SectionResult, report

BLOCKS = "{kind: blocks, blocks: 8, scale: 0.15, context: 32, target: 64}"
CUBES = "{kind: cubes, cube: [2,2,2], ratio: 0.6, context: 32, target: 64}"
RETINA = "{kind: retina, cube: [2,2,2], ratio: 0.6, context: 32, target: 64}"
COARSE = "{kind: blocks, blocks: 8, scale: 0.15, context: 8, target: 64}"
DEFAULT = Recipe("vjepa2, blocks", (f"objective.masks=[{BLOCKS}]",))
RECIPES = (
    DEFAULT,
    Recipe("vjepa2, cubes", (f"objective.masks=[{CUBES}]",)),
    Recipe("vjepa2, retina", (f"objective.masks=[{RETINA}]",)),
    Recipe("vjepa2_1, blocks", ("objective.name=vjepa2_1", f"objective.masks=[{BLOCKS}]")),
    Recipe("byol, blocks", ("objective.name=byol", f"objective.masks=[{BLOCKS}]")),
    Recipe("mae, blocks", ("objective.name=mae", f"objective.masks=[{BLOCKS}]")),
    Recipe("vjepa2, coarse context", ("objective.context_scale=[1,2,2]", f"objective.masks=[{COARSE}]")),
)
RATES = ("1.5e-4", "2.5e-4", "5e-4", "1.5e-3")

HEAD, NARROW = 32, 96  # features of a head; width of the demo's encoder

FULL = Eyes(people=640, scale=0.2)
QUICK = Eyes(people=48, scale=0.06)


def lr_recipes(width: int) -> tuple[Recipe, ...]:
    """The recipe that won, at 12 blocks of this width, a multiple of 96; the predictor is half as wide."""
    heads, inner = width // HEAD, width // 2
    words = (
        "model.depth=12", f"model.width={width}", f"model.heads={heads}", "predictor.depth=6",
        f"predictor.width={inner}", f"predictor.heads={max(1, inner // 24)}", "run.checkpoint_every_epochs=1",
        "objective.name=vjepa2_1", f"objective.masks=[{BLOCKS}]",
    )  # fmt: skip
    return tuple(Recipe(f"lr {rate}", (*words, f"optim.base_lr={rate}")) for rate in RATES)


def recipe_section(plan: Plan, recipes: Sequence[Recipe]) -> SectionResult:
    """What the rows will cost, then the rows, then what they say."""
    planned = plan_rows(plan, recipes, DEFAULT, controls=True)
    click.echo(planned.estimate(plan.workers), err=True)
    rows = make_rows(plan, planned.specs)
    return tables(rows, planned, DEFAULT.name, plan.bootstrap), []


def lr_section(plan: Plan, recipes: Sequence[Recipe]) -> SectionResult:
    """As `recipe_section`, of learning rates."""
    planned = plan_rows(plan, recipes, None, controls=False)
    click.echo(planned.estimate(plan.workers), err=True)
    return lr_tables(make_rows(plan, planned.specs)), []


@benchmark(("recipes", "lr"), "48 people, two short recipes and one rate.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of eyes, runs and rows; a second call goes on there. [one that goes at the end]",
)
@click.option("--samples", type=click.IntRange(16), help="Of a run of `recipes`. [14,400, quick 160]")
@click.option("--lr-samples", type=click.IntRange(16), help="Of a run of `lr`. [4,800, quick 160]")
@click.option(
    "--lr-width",
    type=click.IntRange(96),
    help="Of the encoder in `lr`, a multiple of 96; ViT-S has 384. [96]",
)
@click.option("--seeds", type=click.IntRange(1), help="Runs of each recipe. [3, quick 1]")
@click.option("--workers", type=click.IntRange(1), help="Runs at once, a core each. [all cores]")
@click.option("--recipe", multiple=True, help="Only this row of the table; may repeat.")
def main(
    quick: bool,
    json_file: str | None,
    only: tuple[str, ...],
    work: Path | None,
    samples: int | None,
    lr_samples: int | None,
    lr_width: int | None,
    seeds: int | None,
    workers: int | None,
    recipe: tuple[str, ...],
) -> None:
    """Objectives and masks on the same made-up eyes: which one to train by.

    \b
    Example:
      python benchmarks/recipes.py --quick --json recipes.json
    """
    chosen, rates = (
        _named(every, recipe, quick=quick) for every in (RECIPES, lr_recipes(lr_width or NARROW))
    )
    with tempfile.TemporaryDirectory() as folder:
        root = work or Path(folder)
        eyes = make_eyes(root, QUICK if quick else FULL)
        cores = len(os.sched_getaffinity(0))
        plan = Plan(root, eyes, samples or (160 if quick else 14_400), seeds or (1 if quick else 3),
                    workers or cores, 100 if quick else 2000)  # fmt: skip
        lr_plan = plan.with_samples(lr_samples or (160 if quick else 4_800))
        sections: dict[str, Callable[[], SectionResult]] = {
            "recipes": partial(recipe_section, plan, chosen),
            "lr": partial(lr_section, lr_plan, rates),
        }
        report({name: sections[name] for name in only}, json_file, quick=quick)


def _named(every: Sequence[Recipe], names: Sequence[str], *, quick: bool) -> tuple[Recipe, ...]:
    """Those of --recipe, if any is among them; else all, or few of them if quick."""
    chosen = tuple(recipe for recipe in every if recipe.name in names)
    few = tuple(r for r in every if r.name in (DEFAULT.name, "mae, blocks", "lr 1.5e-4"))
    return chosen or (few if quick else tuple(every))


if __name__ == "__main__":
    main()
