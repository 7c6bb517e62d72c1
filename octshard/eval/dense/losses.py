"""What heads are fitted by: Dice and cross-entropy for classes, L1 and SSIM for vessels seen from above."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from octshard.eval.dense import monai_parts
from octshard.eval.dense.target_store import PADDING

SSIM_SHARE = 0.84  # of the loss, the rest L1: Zhao, Gallo, Frosio and Kautz 2017, of several scales there
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of output_BCDHW, target and valid_B3


def segmentation(weight_C: Tensor) -> Loss:
    """Cross-entropy, weighted by class, plus 1 - Dice, as nnU-Net has it (Isensee et al. 2021).

    Voxels that are PADDING in the target count in neither.
    """

    def loss(logits_BCDHW: Tensor, y_BDHW: Tensor, valid_B3: Tensor) -> Tensor:
        counts_B1DHW = (y_BDHW != PADDING).unsqueeze(1)
        y_B1DHW = y_BDHW.long().unsqueeze(1).masked_fill(~counts_B1DHW, 0)
        true_BCDHW = torch.zeros_like(logits_BCDHW).scatter_(1, y_B1DHW, 1.0) * counts_B1DHW
        entropy = functional.cross_entropy(
            logits_BCDHW, y_BDHW.long(), weight_C.to(logits_BCDHW.device), ignore_index=PADDING
        )
        return entropy + monai_parts.dice_loss(logits_BCDHW.softmax(1) * counts_B1DHW, true_BCDHW)

    return loss


def translation(output_B1DHW: Tensor, target_BDW: Tensor, valid_B3: Tensor) -> Tensor:
    """A Loss of pictures from 0 to 1: 0.84 (1 - SSIM) + 0.16 L1, each volume over its valid part."""
    losses = []
    for i, (d, h, w) in enumerate(valid_B3.tolist()):
        picture_DW, true_DW = en_face(output_B1DHW[i, 0, :d, :h, :w]), target_BDW[i, :d, :w]
        l1 = (picture_DW - true_DW).abs().mean()
        # of the negative of a picture SSIM would be as high as of the picture: heads that began there stayed
        ssim = monai_parts.ssim(picture_DW.clamp(0, 1), true_DW)
        losses.append(SSIM_SHARE * (1 - ssim) + (1 - SSIM_SHARE) * l1)
    return torch.stack(losses).mean()


def en_face(flow_DHW: Tensor) -> Tensor:
    """(D, W): the head's volume seen from above, its mean over depth."""
    return flow_DHW.mean(1)
