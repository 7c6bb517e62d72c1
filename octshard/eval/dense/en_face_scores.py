"""How well a picture of vessels from above, 0 to 1, agrees with the true one."""

import math

import numpy as np
import torch

from octshard.eval.dense import monai_parts


def score(true_DW: np.ndarray, predicted_DW: np.ndarray) -> dict[str, float]:
    """psnr_db of peak 1; ssim (Wang et al. 2004); correlation (Pearson), nan where one picture is flat."""
    error = float(np.mean((true_DW.astype(np.float64) - predicted_DW) ** 2))
    pictures = [torch.from_numpy(np.array(x, np.float32)) for x in (predicted_DW, true_DW)]
    flat = min(float(true_DW.std()), float(predicted_DW.std())) < 1e-9
    return {
        "psnr_db": -10 * math.log10(max(error, 1e-12)),
        "ssim": float(monai_parts.ssim(*pictures)),
        "correlation": float("nan")
        if flat
        else float(np.corrcoef(true_DW.ravel(), predicted_DW.ravel())[0, 1]),
    }
