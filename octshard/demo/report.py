"""The demo's page: refusals with reasons, B-scans before and after, loss, skill, probe and controls."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from octshard.dataset import sample, stored_scale
from octshard.dataset.tables import Dataset, SampleRow
from octshard.demo import next_steps, verdict
from octshard.eval import probe_report
from octshard.eval.probe_result import ProbeResult
from octshard.eval.score_tables import readable
from octshard.pictures import figure
from octshard.pictures.model_view import ModelView
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.refusals import Refused
from octshard.prep.release.unzip import UnzipReport
from octshard.report.page import (
    Cell,
    Html,
    Section,
    columns,
    group,
    numeral,
    page,
    picture,
    side_by_side,
    table,
)
from octshard.report.plots import line_plot
from octshard.storage import store

PX_PER_MM = 60  # of the pictures


@dataclass(frozen=True, eq=False)
class DemoResults:
    """The results of all stages of the demo. seconds: per stage; log_lines: of training."""

    out: str
    datasets: Sequence[Dataset]
    dicom_folder: str  # the rows' sources are paths below it
    unzip_report: UnzipReport
    metrics: Sequence[Mapping[str, Any]]
    probe: ProbeResult
    seconds: Mapping[str, float]
    log_lines: Sequence[str]
    views: Sequence[ModelView]  # volumes as training gets them


def render(results: DemoResults) -> str:
    """The whole page, self-contained."""
    stored = sum(len(d.rows) - len(d.refused) for d in results.datasets)
    refused = sum(len(d.refused) for d in results.datasets)
    lead = (
        f"{_people(results)} made-up people on {len(results.datasets)} devices: {stored} volumes in shards, "
        f"{refused} files refused, one small V-JEPA 2 encoder, one honest probe."
    )
    sections = [
        Section("Verdict", verdict.parts(results.datasets, results.metrics, results.probe)),
        Section("What to do next", (next_steps.section(results.out, _people(results)),)),
        Section("The road", (_stage_seconds(results), _unzip_summary(results))),
        Section("What was stored and what was refused", (_counts(results), _refusals(results))),
        Section(
            "B-scans before and after",
            (BEFORE_AFTER, *(_before_and_after(results, d) for d in results.datasets)),
        ),
        Section("What the model sees", (MODEL_SEES, *(_model_view(view) for view in results.views))),
        Section(
            "Training", (*results.log_lines, _loss_plot(results), _skill_plot(results), _probe_plot(results))
        ),
        Section(
            "The frozen encoder, probed",
            (
                *probe_report.verdict(results.probe),
                probe_report.score_plot(results.probe),
                probe_report.scores(results.probe),
                *map(readable, results.probe.notes),
                f"{results.probe.scored.text()}.",
                *probe_report.method(results.probe),
            ),
        ),
    ]
    return page("octshard demo", lead, sections)


BEFORE_AFTER = (
    "Left: the central B-scan as the device wrote it. Right: the same place in the shard, at the target "
    "spacing. Both are drawn at the same physical scale, so what differs is the sampling, not the eye."
)
MODEL_SEES = (
    "One B-scan of a volume as a step of training gets it. The encoder sees the context tokens, and predicts "
    "features of the targets. Last: the trained encoder's features of every token, their three principal "
    "components as red, green and blue, fitted to several volumes: tokens of one colour are alike to it."
)


def _model_view(view: ModelView) -> Html:
    """The middle B-scan in all its panels."""
    plane = view.shape[0] // 2
    panels = [
        picture(image_HW3, f"{title}, {view.title}", title)
        for title, image_HW3 in figure.panel_images(view, plane)
    ]
    return group([columns(panels)], f"{view.title}: {view.detail}")


def _people(results: DemoResults) -> int:
    return len({row.participant for d in results.datasets for row in d.rows})


def _stage_seconds(results: DemoResults) -> Html:
    rows: list[list[Cell]] = [[name, numeral(f"{s:.1f}")] for name, s in results.seconds.items()]
    rows.append(["all", numeral(f"{sum(results.seconds.values()):.1f}")])
    return table(["stage", "seconds"], rows, "")


def _unzip_summary(results: DemoResults) -> str:
    report = results.unzip_report
    return (
        f"Unzip: {len(report.written)} objects written, {len(report.skipped)} already there, "
        f"{len(report.refused)} refused, {len(report.missing)} in the manifest but in no ZIP, "
        f"{len(report.unlisted)} in a ZIP but not in the manifest."
    )


def _counts(results: DemoResults) -> Html:
    rows = []
    for d in results.datasets:
        splits = Counter(row.split for row in d.rows if row.status == "ok")
        megabytes = sum(s.bytes for s in d.shards) / 1e6
        rows.append(
            [
                d.info["device"],
                *(splits[s] for s in ("train", "val", "test")),
                len(d.refused),
                len(d.shards),
                megabytes,
            ]
        )
    headers = ["device", "train", "val", "test", "refused", "shards", "MB"]
    return table(headers, rows, "Volumes by split; a participant stands in one split only.", stacked=True)


def _refusals(results: DemoResults) -> Html:
    groups: dict[tuple[str, str, str], list[SampleRow]] = {}
    for row in (row for d in results.datasets for row in d.refused):
        groups.setdefault((row.reason, row.device, row.protocol), []).append(row)
    if not groups:
        return Html("<p>Nothing was refused.</p>")
    table_rows: list[list[Cell]] = [
        [*group, len(rows), f"{rows[0].key}: {rows[0].detail}"] for group, rows in sorted(groups.items())
    ]
    headers = ["reason", "device", "protocol", "files", "the first of them"]
    caption = "Input files that are in no shard. Each has its own row in samples.parquet."
    return table(headers, table_rows, caption, stacked=True)


def _before_and_after(results: DemoResults, dataset: Dataset) -> Html:
    """The central B-scan of one stored scan, as written by the device and as stored."""
    row = _example(dataset)
    scan_name = f"{row.device}, {row.protocol}, {row.region}"
    assert row.spacing_in is not None  # every stored row has both spacings and its shape
    assert row.spacing_out is not None
    assert row.shape_out is not None
    raw = _raw_frame(results, row)
    voxels_DHW = stored_scale.grey_uint8(sample.read(dataset.url, row))
    before = f"{scan_name}: {row.frames}x{row.rows}x{row.cols} voxels at {_mm(row.spacing_in)} mm"
    after = f"stored: {'x'.join(map(str, row.shape_out))} at {_mm(row.spacing_out)} mm"
    return side_by_side(
        [
            picture(_scaled(raw, row.spacing_in[1:]), f"B-scan as written by {row.device}", before),
            picture(
                _scaled(voxels_DHW[len(voxels_DHW) // 2], row.spacing_out[1:]),
                f"B-scan of {row.device} as stored",
                after,
            ),
        ]
    )


def _example(dataset: Dataset) -> SampleRow:
    """The first stored macular scan, else the first stored one."""
    stored = [row for row in dataset.rows if row.status == "ok"]
    return next((row for row in stored if "acula" in row.region), stored[0])


def _raw_frame(results: DemoResults, row: SampleRow) -> np.ndarray:
    data = store.read(store.join(results.dicom_folder, row.source))
    header = dicom.read_header(data, max_voxels=2**31)
    for i, frame in enumerate(decode.frames(data, header)):
        if i == header.frames // 2:
            return frame.astype(np.uint8)
    raise Refused("frame_count", f"{row.source}: no frame {header.frames // 2}")


def _scaled(frame_HW: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """The frame at PX_PER_MM, nearest voxel, so that the sampling shows."""
    height, width = (
        max(1, round(n * s * PX_PER_MM)) for n, s in zip(frame_HW.shape, spacing_mm, strict=True)
    )
    return np.asarray(Image.fromarray(frame_HW).resize((width, height), Image.Resampling.NEAREST))


def _mm(spacing: Sequence[float]) -> str:
    return " / ".join(f"{s:.4g}" for s in spacing)


def _loss_plot(results: DemoResults) -> Html:
    caption = (
        "Loss against samples seen: mean of each log interval on train, all of the val sample at checkpoints."
    )
    lines = {"train": _line(results, "loss"), "val": _line(results, "val_loss")}
    return line_plot(lines, "samples seen", "loss").html(caption)


def _skill_plot(results: DemoResults) -> Html:
    caption = (
        "Skill on val: 1 - loss / loss of the best predictor that knows the position of a token alone. At 0 "
        "the context tells nothing of the volume."
    )
    return line_plot({"skill": _line(results, "skill")}, "samples seen", "skill").html(caption)


def _probe_plot(results: DemoResults) -> Html:
    lines = {
        "linear": _line(results, "probe_linear"),
        "k-NN": _line(results, "probe_knn"),
        "linear, at random": _line(results, "probe_random_linear"),
        "k-NN, at random": _line(results, "probe_random_knn"),
    }
    caption = (
        "Probes of the target encoder while it trains, in another process: macro AUROC of the study group on "
        "val, by participant, beside the same encoder at random."
    )
    return line_plot(lines, "samples seen", "macro AUROC").html(caption)


def _line(results: DemoResults, name: str) -> tuple[list[float], list[float]]:
    points = [(float(m["samples_seen"]), float(m[name])) for m in results.metrics if m.get(name) is not None]
    return [x for x, _ in points], [y for _, y in points]
