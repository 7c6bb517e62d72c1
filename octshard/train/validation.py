"""val_loss: the loss over the validation volumes, the same ones in the same way at every checkpoint."""

import torch

from octshard.devices import prefetch
from octshard.models import normalize
from octshard.train.inputs import val_batches
from octshard.train.setup import Run


def validate(run: Run) -> float | None:
    """Mean loss over the validation volumes, each once: centre crops, no flips, no noise, always one mask.

    All shapes are fixed, so the last batch is filled up with repeats, which weigh nothing.
    """
    backend = run.backend
    if min(run.cfg.run.val_samples, len(run.inputs.val_index.samples)) == 0:
        return None
    run.model.eval()
    total_2 = backend.replicate(torch.zeros(2))
    inputs = val_batches(run.inputs, backend)
    with torch.no_grad(), prefetch.prefetch_to_device(inputs, backend) as batches:
        for device_batch in batches:
            batch, tokens, places, weight_B = device_batch.device
            x = normalize.normalize(batch.voxels_BDHW, batch.mean_B, batch.std_B, batch.valid_B3)
            with backend.autocast():
                losses_B = run.model(x, x, tokens, places).losses_B
            total_2 = total_2 + torch.stack([(losses_B * weight_B).sum(), weight_B.sum()])
            backend.mark_step()
    total, count = backend.to_host(backend.all_reduce_sum(total_2)).tolist()  # waits
    return float(total / count)
