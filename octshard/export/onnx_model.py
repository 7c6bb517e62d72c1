"""The encoder as an ONNX graph: a batch of any number of images of image_size, and the extents of volumes.

The one door of `onnx`. Computed in float32, whatever the precision of the run.
"""

import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from octshard.errors import UsageError
from octshard.extras import install_advice
from octshard.imaging.volume import Shape
from octshard.models.position import coordinates
from octshard.models.tokens import pool
from octshard.models.vit import Encoder

OPSET = 18
INPUTS, OUTPUTS = ("x_BCDHW", "valid_B3"), ("tokens_BNF", "pooled_BF")
LARGEST = 2_000_000_000  # bytes of weights; a protobuf ends at 2 GiB


class OnnxModel(nn.Module):
    """Normalised voxels and the extent of each volume -> features of all tokens, 0 at padding, and their
    mean over the others.
    """

    place_N3: Tensor
    patch_3: Tensor

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("place_N3", torch.from_numpy(coordinates(encoder.grid)).long(), persistent=False)
        self.register_buffer("patch_3", torch.tensor(encoder.patch), persistent=False)

    def forward(self, x_BCDHW: Tensor, valid_B3: Tensor) -> tuple[Tensor, Tensor]:
        first_N3 = self.place_N3 * self.patch_3  # the first voxel of each token
        padding_BN = (first_N3[None] >= valid_B3[:, None]).any(-1)
        z_BNF = self.encoder(x_BCDHW, None, padding_BN)
        return z_BNF.masked_fill(padding_BN.unsqueeze(-1), 0), pool(z_BNF, padding_BN)


def check(encoder: Encoder) -> None:
    """UsageError where it cannot be written: a package is missing, or the weights are too many."""
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise UsageError(f"--onnx: {package} is not installed; {install_advice('onnx')}")
    if (size := sum(weight.nbytes for weight in encoder.parameters())) > LARGEST:
        raise UsageError(f"--onnx: {size:,} bytes of weights, want at most {LARGEST:,} in one ONNX file")


def to_onnx(encoder: Encoder, image_size: Shape) -> bytes:
    """The graph of an encoder on the CPU."""
    batch = torch.export.Dim("batch", min=2)  # 1 too: the graph has no other
    inputs = torch.zeros(2, 1, *image_size), torch.tensor([image_size, image_size])
    with tempfile.TemporaryDirectory(prefix="octshard-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            OnnxModel(encoder).eval(),
            inputs,
            path,
            input_names=INPUTS,
            output_names=OUTPUTS,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
        return path.read_bytes()
