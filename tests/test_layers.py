"""The import table of DESIGN §2: who may import whom, and by which door foreign packages enter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "octshard"
FILES = sorted(p for p in PACKAGE.rglob("*.py"))
DOORS = {  # foreign package -> the modules that may import it
    "pydicom": {"prep.dicom.file_kind", "prep.dicom.writer", "prep.dicom.compressed_frame"},
    "pylibjpeg": {"prep.dicom.compressed_frame"},
    "openjpeg": {"prep.dicom.compressed_frame"},
    "pyarrow": {"dataset.parquet", "dataset.row_columns"},
    "safetensors": {"models.exported_encoder", "models.weights_file", "storage.tensors"},
    "tarfile": {"dataset.shard"},
    "webdataset": {"webdataset"},
    "monai": {"dataset.torch_dataset", "eval.dense.monai_parts"},
    "nibabel": {"eval.dense.map_file", "export.volume_file", "prep.readers.nifti"},
    "openpyxl": {"workbook"},
    "tifffile": {"prep.readers.tiff"},
    "zstandard": {"dataset.shard"},
    "xxhash": {"storage.checksum"},
    "isal": {"storage.checksum", "prep.release.zip_source"},
    "google_crc32c": {"storage.checksum"},
    "numba": {"imaging.jit"},
    "einops": {"models.vit"},
    "matplotlib": {
        "pictures.contact_sheet",
        "pictures.drawing",
        "pictures.figure",
        "pictures.palette",
        "pictures.sweep",
        "report.chart",
        "report.histograms",
        "report.plots",
    },
    "onnx": {"export.onnx_model"},
    "onnxscript": {"export.onnx_model"},
    "torch_xla": {"devices.xla", "devices.recorded", "devices.scanned"},
    "fsspec": {"storage.remote", "storage.s3"},
    "gcsfs": {"storage.gcs"},
    "s3fs": {"storage.s3"},
    "ray": {"prep.build.ray_cluster"},
    "timm": {"eval.controls.slice_encoder"},
    "wandb": {"train.sinks.wandb_run"},
    "tensorboard": {"train.sinks.tensorboard_file"},
}
FLOORS = [  # a package imports from its own and from lower floors alone
    {"config", "imaging", "storage"},
    {"dataset", "devices", "models", "pictures", "report"},
    {"stream", "prep"},
    {"probes"},
    {"train"},
    {"eval", "export"},
    {"phantom", "demo", "doctor", "cli"},
]
FRONT_DOOR = {"", "frozen_encoder", "webdataset"}  # "" is octshard/__init__.py
FLOOR = {package: floor for floor, packages in enumerate([*FLOORS, FRONT_DOOR]) for package in packages}
ROOMS = {"prep", "train", "eval"}
BANNED = {"utils", "util", "helpers", "common", "base", "core", "manager", "registry", "factory"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at the top of the file?) for every import of a file, `from a import b` as both a and a.b."""
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; want absolute ones"
            yield str(node.module), id(node) in top
            for alias in node.names:
                yield f"{node.module}.{alias.name}", id(node) in top


def ours(path: Path) -> set[str]:
    """The octshard modules that a file imports, without the `octshard.`."""
    known = {name_of(p) for p in FILES}
    found = {
        module.removeprefix("octshard.") for module, _ in imports(path) if module.startswith("octshard.")
    }
    return found & known


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_foreign_packages_enter_by_one_door(path: Path) -> None:
    for module, _ in imports(path):
        allowed = DOORS.get(module.split(".")[0], {name_of(path)})
        assert name_of(path) in allowed, f"{path} imports {module}, want it in {allowed} only"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    package = name_of(path).split(".")[0]
    for module in ours(path):
        other = module.split(".")[0]
        assert FLOOR.get(other, -1) <= FLOOR.get(package, -1) or package == "__main__", (
            f"{name_of(path)} imports {module}"
        )
        assert other == package or not {package, other} <= ROOMS, f"{name_of(path)} imports {module}"


def test_every_package_has_its_floor() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert packages == set(FLOOR) - FRONT_DOOR


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_front_door_is_used_by_programs_alone(path: Path) -> None:
    """What stands there may import everything, so no room may lean on it; only `octshard` itself names it."""
    assert name_of(path) == "" or not ours(path) & FRONT_DOOR


def test_no_file_is_called_after_nothing() -> None:
    assert not [p for p in FILES if p.stem in BANNED]


def test_heavy_packages_stay_out_of_help() -> None:
    """`octshard --help` answers in a blink: the CLI module pulls in no torch, no table, no cloud package."""
    code = "import sys, octshard.cli.main; print(sorted({m.split('.')[0] for m in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {
        "torch",
        "torch_xla",
        "numpy",
        "pyarrow",
        "pydicom",
        "sklearn",
        "matplotlib",
        "fsspec",
        "wandb",
        "tensorboard",
        "scipy",
    }
    assert not heavy & set(ast.literal_eval(out))
