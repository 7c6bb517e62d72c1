"""How often a run sees the same volumes, said at its start.

Up to about four passes repeated data teach nearly as much as new data, and after about 16 hardly anything
(language models, Muennighoff et al. 2023); masks, crops and views are new in every pass, so that images bear
more. What a run bears only its probes can show.
"""

import logging
from collections.abc import Iterator, Sequence

from octshard.config.train import TrainConfig
from octshard.stream.sampler import Domain
from octshard.train.plan import Plan

MANY_PASSES = 5.0  # from here on it is worth a look whether the run still learns


def lines(cfg: TrainConfig, plan: Plan, domains: Sequence[Domain]) -> Iterator[tuple[int, str]]:
    """(level of logging, line)."""
    often = times_seen(plan.length.total, domains)
    mean = plan.length.total / sum(domain.samples for domain in domains)
    each = ", ".join(f"{name} {times:.1f}" for name, times in often.items())
    of_domains = f" ({each})" if len(often) > 1 else ""
    yield logging.INFO, f"reuse: each volume is seen {mean:.1f} times on average{of_domains}"
    most = max(often.values())
    if most > MANY_PASSES and not cfg.run.probe_every:
        yield (
            logging.WARNING,
            f"some volumes are seen {most:.1f} times, and there are no probes: nothing will show when "
            f"repeats teach nothing new; set run.probe_every, or a smaller budget",
        )


def times_seen(samples: int, domains: Sequence[Domain]) -> dict[str, float]:
    """Domain -> how often each of its volumes is seen among so many samples, on average."""
    weights = sum(domain.weight for domain in domains)
    return {domain.name: samples * domain.weight / weights / domain.samples for domain in domains}
