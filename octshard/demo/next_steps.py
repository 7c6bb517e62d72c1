"""What to do after the demo: look closer at what it made, then the same with one's own data."""

from octshard.report import steps
from octshard.report.page import Html
from octshard.report.steps import Step, command, setting
from octshard.storage import store

MORE_PEOPLE = 288  # 12 or so of each class in test


def section(out: str, participants: int) -> Html:
    """The list; `out` is the demo's folder."""
    shards, run = store.join(out, "shards"), store.join(out, "run")
    people = store.join(out, "release", "participants.tsv")
    preview = command(
        "octshard", "preview", "--config", store.join(run, "config.yaml"), "--checkpoint", run,
        "--out", store.join(out, "preview.png"), "--gif", store.join(out, "preview.gif"),
    )  # fmt: skip
    features = store.join(out, "features")
    embed = command(
        "octshard", "eval", "embed", setting("checkpoint", run), setting("shards", shards),
        setting("participants", people), setting("out", features),
    )  # fmt: skip
    robustness = command(
        "octshard", "eval", "robustness", setting("features", features), setting("participants", people),
        setting("out", store.join(out, "robustness")),
    )  # fmt: skip
    report = command(
        "octshard", "eval", "report", setting("checkpoint", run), setting("shards", shards),
        setting("participants", people), setting("out", store.join(out, "eval")),
    )  # fmt: skip
    own = (
        command("octshard", "prep", "unzip", "RELEASE", "dicom"),
        command("octshard", "prep", "shard", "dicom", "shards", "--device", "all"),
        command("octshard", "prep", "report", "shards"),
    )
    return steps.html(
        [
            Step("See every refused and flagged file:", (command("octshard", "prep", "report", shards),)),
            Step("See what the model sees, B-scan by B-scan:", (preview,)),
            Step("See every head, control, figure and picture on one page:", (report,)),
            Step("Ask whether features follow the eye, or the device and the site:", (embed, robustness)),
            Step("Hand the encoder on:", (command("octshard", "export", run, store.join(out, "encoder")),)),
            *_more_people(out, participants),
            Step(
                "Your own data: RELEASE holds manifest.tsv and the device ZIPs; its page says how to go on.",
                own,
            ),
        ]
    )


def _more_people(out: str, participants: int) -> tuple[Step, ...]:
    if participants >= MORE_PEOPLE:
        return ()
    words = ("--out", f"{out}-{MORE_PEOPLE}", "--participants", str(MORE_PEOPLE))
    text = "Enough people in test for a verdict, in about twice the time:"
    return (Step(text, (command("octshard", "demo", *words),)),)
