"""Which settings of `octshard train` may be others when a run goes on: what `resume` holds them to, and what
`octshard config` lists.
"""

from octshard.config.fields import Setting

FREE, ACCEPTED, NEVER = "free", "with --accept-changes", "never"
LENGTH = ("run.epochs", "run.samples_budget", "optim.cooldown")  # what makes a run longer

# what cannot change on the way: beginnings of keys, and why; the first that fits
FIXED = {
    "model.image_size": "another image is a second phase: a new run with run.init_from",
    "model.": "the weights have their shape from it",
    "predictor.": "the weights have their shape from it",
    "objective.name": "another method has other weights",
    "run.global_batch": "steps are counted in it",
}
NOT_FIXED = ("model.drop_path",)  # no weight has its shape from it
MASK_SETS = "each mask set has a weight of its own"  # why their number is fixed, where it is so
# what the mark of a key alone does not say: beginnings of keys
NOTES = {
    "data.shards": f"other samples {ACCEPTED}",
    "data.filter": "other samples",
    "run.per_device_batch": f"{ACCEPTED} where volumes of a batch are normalised together (byol)",
    **dict.fromkeys(LENGTH, "or --extend; longer without either where no rate jumps"),
    "objective.masks": f"their number {NEVER} where {MASK_SETS}",
}


def fixed_reason(key: str) -> str:
    """Why the value of `key` cannot change on the way; empty if it can."""
    if key in NOT_FIXED:
        return ""
    return next((reason for start, reason in FIXED.items() if key.startswith(start)), "")


def mark(setting: Setting) -> str:
    """In words whether a setting of `train` may change: free (it changes speed or place alone), with
    --accept-changes, or never, and why.
    """
    reason = "" if setting.rule.speed else fixed_reason(setting.key)
    word = FREE if setting.rule.speed else f"{NEVER}: {reason}" if reason else ACCEPTED
    note = next((note for start, note in NOTES.items() if setting.key.startswith(start)), "")
    return f"{word}, {note}" if setting.key in LENGTH else f"{word}; {note}" if note else word
