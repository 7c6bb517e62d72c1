"""A request for pictures over two tiny dataset folders: the same people on two devices, labels by hand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from octshard.eval import encoders
from octshard.eval.encoders import Asked, Devices
from octshard.eval.pictures.request import PictureRequest
from octshard.eval.scans import open_scans
from octshard.models.encoder import read_encoder
from octshard.probes import labels
from octshard.probes.predictions import Predictions
from octshard.probes.targets import Target
from tests.support.tiny_run import config_for, odd_wide, write_checkpoint, write_dataset

COUNTS = {"train": 8, "val": 6, "test": 6}
CLASSES = ("healthy", "ill")


def made_request(root: Path, value_of: Mapping[str, float] | None = None) -> PictureRequest:
    """Every other person is ill, or has the number that value_of says. One arm, `ours`, always says 0.9 of
    healthy; its features are noise. One encoder of random weights.
    """
    folders = [
        write_dataset(root / device, COUNTS, device=device, is_wide=odd_wide) for device in ("alpha", "beta")
    ]
    run = write_checkpoint(root / "run", config_for(folders[0], root / "run", "run.samples_budget=8"))
    trained = read_encoder(run)
    scans = open_scans(folders, trained.config)
    people = sorted({row.participant for row in scans.rows})
    target = (
        Target("number", (), value_of)
        if value_of
        else Target("state", CLASSES, {name: float(int(name[-3:]) % 2) for name in people})
    )
    labelled = labels.join(target, scans.rows)
    test = labelled.subsets["test"]
    names, first = np.unique(np.array(test.participants), return_index=True)
    said = [[0.5]] if value_of else [[0.9, 0.1]]
    predictions = Predictions(tuple(names.tolist()), np.repeat(said, len(names), axis=0), test.y_N[first])
    return PictureRequest(
        scans=scans,
        labelled=labelled,
        predictions={"ours": (predictions,)},
        values={"ours": np.random.default_rng(0).normal(size=(len(scans.rows), 6)).astype(np.float32)},
        encoders=(encoders.trained_encoder("ours", trained),),
        asked=Asked("whole", ("last",), ("mean_std",), 4),
        devices=Devices("cpu"),
        seed=0,
    )
