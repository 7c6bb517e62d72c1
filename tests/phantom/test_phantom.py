"""The made-up eyes: anatomy, devices, the release's files, and how hard the states are to tell apart."""

import csv
import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from octshard.dataset import tables
from octshard.errors import UsageError
from octshard.imaging.resample import Regrid, resample_frames
from octshard.phantom import cohort, display, scan, truth
from octshard.phantom import eye as anatomy
from octshard.phantom.defects import BY_NAME, DEFECTS, Blinks, assign_defects
from octshard.phantom.device import DEVICES, PROTOCOLS, Protocol
from octshard.phantom.eye import BM, ELM, GCL, ILM, RPE, STATES, SUB, Eye, Person
from octshard.phantom.release import COLUMNS, ReleaseSpec, jobs, make, write_release
from octshard.prep.convert import geometry, quality
from octshard.prep.dicom import decode
from octshard.prep.dicom import header as dicom
from octshard.prep.refusals import REASONS, Refused
from octshard.prep.release import aireadi
from octshard.prep.release.entry import Entry
from octshard.rng import rng_for

MAIN = [protocol for protocol in PROTOCOLS if protocol.share == 1.0]
NAMES = [f"{protocol.device}-{protocol.name}" for protocol in PROTOCOLS]


def make_eye(state: str, severity: float = 0.6, side: str = "R", name: str = "1203") -> Eye:
    return anatomy.generate(Person(name, state, 0.0 if state == "healthy" else severity, 60), side, 0)


def square(half_mm: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-half_mm, half_mm, n, dtype=np.float32)
    return np.meshgrid(line, line)  # type: ignore[return-value]


def protocol_named(device: str, name: str) -> Protocol:
    return next(p for p in PROTOCOLS if (p.device, p.name) == (device, name))


# anatomy


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("side", ["L", "R"])
def test_boundaries_never_cross(state: str, side: str) -> None:
    x, y = np.meshgrid(np.linspace(-6, 8, 90), np.linspace(-5, 5, 70))  # macula, disc and beyond
    eye = make_eye(state, 1.0, side)
    depth = anatomy.boundaries(eye, x, y)
    assert depth.shape == (len(anatomy.BOUNDARIES), 70, 90)
    assert np.isfinite(depth).all()
    assert (np.diff(depth, axis=0) >= 0).all()
    outside = np.hypot(x - eye.disc.x_mm, y - eye.disc.y_mm) > 1.7 * eye.disc.radius_mm
    assert (np.diff(depth, axis=0)[:, outside] > 0).all()


@pytest.mark.parametrize("name", ["1203", "4555", "7001", "1999"])
def test_the_retina_is_thinnest_at_the_fovea_and_thickest_around_it(name: str) -> None:
    x, y = square(2.0, 81)
    depth = anatomy.boundaries(make_eye("healthy", name=name), x, y)
    thick, r = depth[BM] - depth[ILM], np.hypot(x, y)
    place = np.unravel_index(np.argmin(np.where(r < 1.0, thick, 1.0)), thick.shape)
    assert r[place] < 0.2
    assert 0.15 < thick[r < 0.1].mean() < 0.28  # OCT atlases: about 0.22 mm at the foveola
    assert 0.28 < thick[(r > 0.9) & (r < 1.2)].mean() < 0.42  # and 0.34 mm a millimetre away
    assert thick[(r > 0.9) & (r < 1.2)].mean() > thick[r > 2.4].mean()


def test_nerve_fibres_are_thicker_towards_the_nose() -> None:
    depth = anatomy.boundaries(make_eye("healthy"), np.array([[-2.5, 2.5]]), np.array([[0.5, 0.5]]))
    fibres = (depth[GCL] - depth[ILM])[0]
    assert fibres[1] > 1.5 * fibres[0]


def test_left_and_right_are_displayed_as_mirror_images() -> None:
    """The nasal side, where the disc is, lies to the right in a right eye's fundus picture."""
    wide = protocol_named("topcon_triton", "macula_12x12")
    for side, nasal in (("R", 1), ("L", -1)):
        grid = scan.scan_grid(make_eye("healthy", side=side), wide, (8, 9), rng_for(0))
        assert np.sign(grid.x_DW[0, -1] - grid.x_DW[0, 0]) == nasal
        assert grid.y_DW[0, 0] > grid.y_DW[-1, 0]  # Topcon: from above to below


def test_lesions_are_what_they_are_called() -> None:
    x, y = square(2.0, 101)
    depth = {state: anatomy.boundaries(make_eye(state), x, y) for state in STATES}
    lift = {state: (d[BM] - d[SUB]).max() for state, d in depth.items()}
    assert lift["drusen"] > 0.03 > 0.02 > max(lift[state] for state in STATES if state != "drusen")
    fibres = {state: (d[GCL] - d[ILM]).mean() for state, d in depth.items()}
    assert fibres["thinning"] < 0.8 * fibres["healthy"]
    thick = {state: (d[BM] - d[ILM]).max() for state, d in depth.items()}
    assert thick["fluid"] > thick["healthy"] + 0.02
    cysts = {state: len(make_eye(state).cysts_N6) for state in STATES}
    assert cysts["fluid"] > 10
    assert [cysts[state] for state in STATES if state != "fluid"] == [0, 0, 0]


def test_severity_is_a_matter_of_degree() -> None:
    x, y = square(2.5, 61)
    mild, severe = (anatomy.boundaries(make_eye("thinning", s), x, y) for s in (0.15, 0.9))
    assert (mild[GCL] - mild[ILM]).mean() > 1.3 * (severe[GCL] - severe[ILM]).mean()


# scans


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_scale_keeps_the_physical_extent(protocol: Protocol) -> None:
    """At two scales the retina lies at the same depth in mm: the anatomy knows nothing of pixels."""
    eye, rows = make_eye("drusen"), []
    for scale in (0.08, 0.16):
        picture = scan.acquire(eye, protocol, scale, rng_for(3))
        d, h, w = picture.shape
        assert picture.shape == scan.shape_of(protocol, scale) == picture.voxels_DHW.shape
        assert picture.extent_mm == protocol.extent_mm
        spread = np.ptp(picture.grid.u_DW) + protocol.extent_mm[2] / w
        if protocol.pattern == "raster" and not protocol.degrees:
            assert spread == pytest.approx(protocol.extent_mm[2], rel=1e-3)
        if protocol.pattern == "raster":
            assert d == pytest.approx(protocol.frames * scale, abs=0.51) or d == 4
        thick = (picture.rows_KDW[BM] - picture.rows_KDW[ILM]) * protocol.extent_mm[1] / h
        rows.append(np.median(thick))
    assert rows[0] == pytest.approx(rows[1], rel=0.03)


def test_fill_is_the_mean_over_each_voxel() -> None:
    """Against a sum over a thousand points per voxel."""
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(2, 18, (5, 2, 3)), axis=0)
    power = rng.uniform(0.1, 1, (5, 2, 3)).astype(np.float32)
    mean_power = scan._fill(edges, power, 20)
    z = (np.arange(20_000) + 0.5) / 1000
    for d in range(2):
        for w in range(3):
            slab = np.searchsorted(edges[:, d, w], z) - 1
            fine = np.where(slab < 0, 1e-6, power[np.maximum(slab, 0), d, w])
            np.testing.assert_allclose(mean_power[d, w], fine.reshape(20, 1000).mean(1), atol=2e-3)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    eye, protocol = make_eye("fluid"), MAIN[2]
    whole = scan.acquire(eye, protocol, 0.08, rng_for(1))
    monkeypatch.setattr(scan, "BLOCK_VOXELS", 1)  # one frame at a time
    framewise = scan.acquire(eye, protocol, 0.08, rng_for(1))
    assert (whole.voxels_DHW == framewise.voxels_DHW).all()
    assert (whole.fluid_DB == framewise.fluid_DB).all()


@pytest.mark.parametrize("protocol", MAIN, ids=lambda p: p.device)
def test_pictures_have_the_greys_of_oct(protocol: Protocol) -> None:
    """Dark vitreous, dim photoreceptor nuclei, bright nerve fibres, brightest RPE."""
    picture = scan.acquire(make_eye("healthy"), dataclasses.replace(protocol, frames=12), 0.5, rng_for(2))
    voxels, rows = picture.voxels_DHW.astype(np.float32), picture.rows_KDW
    z = np.arange(voxels.shape[1])[None, :, None] + 0.5

    def mean_between(top: np.ndarray, bottom: np.ndarray) -> float:
        return float(voxels[(z > top[:, None]) & (z < bottom[:, None])].mean())

    away = np.hypot(picture.grid.x_DW, picture.grid.y_DW) > 0.8
    vitreous = mean_between(np.zeros_like(rows[ILM]), rows[ILM] - 8)
    nuclei = mean_between(rows[anatomy.ONL], rows[ELM])
    fibres = mean_between(np.where(away, rows[ILM], 1e9), rows[GCL])
    plexus = mean_between(np.where(away, rows[anatomy.IPL], 1e9), rows[anatomy.INL])
    pigment = mean_between(rows[anatomy.EZ], rows[BM])
    assert vitreous < 30 < nuclei < plexus < fibres < pigment
    assert 15 < voxels.mean() < 80


def test_grain_is_wider_where_voxels_are_finer() -> None:
    device, protocol = DEVICES["topcon_triton"], MAIN[2]
    fine, coarse = (display.grain_of(device, protocol, (h, h // 3)) for h in (992, 248))
    assert fine.axial == pytest.approx(4 * coarse.axial)
    assert coarse.looks > fine.looks


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=NAMES)
def test_frame_locations_tell_the_pattern(protocol: Protocol) -> None:
    grid = scan.scan_grid(make_eye("healthy"), protocol, (scan.shape_of(protocol, 0.2)[0], 16), rng_for(0))
    kind = geometry.classify(grid.locations, len(grid.locations)).kind
    assert kind == ("raster" if protocol.pattern == "raster" else "mixed")


@pytest.mark.realdata
def test_greys_resemble_a_real_spectralis(realdata: Path) -> None:
    with zipfile.ZipFile(realdata / "heidelberg_spectralis" / "heidelberg_spectralis.zip") as archive:
        data = archive.read(archive.namelist()[0])
    real = np.stack(list(decode.frames(data, dicom.read_header(data, 10**9))))
    few, names = dataclasses.replace(MAIN[0], frames=5), [f"1{i}00" for i in range(8)]
    generated = np.stack(
        [scan.acquire(make_eye("drusen", name=n), few, 1.0, rng_for(4, n)).voxels_DHW for n in names]
    )
    assert generated.mean() == pytest.approx(real.mean(), abs=12)
    assert generated.std() == pytest.approx(real.std(), abs=12)
    for share in (10, 25, 50, 75, 90, 95, 99):
        assert np.percentile(generated, share) == pytest.approx(np.percentile(real, share), abs=25)


# people


@pytest.mark.parametrize("number", [12, 24, 50, 96])
def test_every_state_is_in_every_split(number: int) -> None:
    participants = cohort.sample_cohort(number, 5)
    names = [participant.person.participant for participant in participants]
    assert names == sorted(set(names))
    assert {name[0] for name in names} <= set(cohort.SITES)
    assert {(participant.person.state, participant.split) for participant in participants} == {
        (state, split) for state in STATES for split in ("train", "val", "test")
    }
    assert len({cohort.STUDY_GROUPS[state] for state in STATES}) == 4


def test_states_are_hidden_from_raw_intensities_and_plain_in_the_truth() -> None:
    """Balanced accuracy by participant (one scan each, 5-fold): raw greys stay well below an oracle's."""
    raw, oracle, states = [], [], []
    for participant in cohort.sample_cohort(64, 0):
        eye = anatomy.generate(participant.person, "R", 0)
        picture = scan.acquire(eye, MAIN[2], 0.1, rng_for(0, participant.person.participant))
        voxels, measures = picture.voxels_DHW, truth.measure(eye, picture)
        small = resample_frames(voxels, Regrid(voxels.shape, (4, 10, 10)))  # type: ignore[arg-type]
        greys = np.histogram(voxels, 32, (0, 256), density=True)[0] * 255
        raw.append(np.r_[voxels.mean(), voxels.std(), greys, small.ravel()])
        lift, fluid = np.log(measures["rpe_lift_um"]), np.log(measures["fluid_mm3"] + 1e-6)
        oracle.append([measures["nerve_fibres_um"], lift, fluid])
        states.append(STATES.index(participant.person.state))

    def score(features: list, strength: float) -> float:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        return balanced_accuracy_score(states, cross_val_predict(model, np.array(features), states, cv=folds))

    assert max(score(raw, strength) for strength in (1e-3, 1e-2, 1e-1)) < 0.7
    assert score(oracle, 10.0) > 0.95


# release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("release")
    calls: list[tuple[int, int]] = []
    summary = write_release(str(out), SPEC, 1, lambda count, total, note: calls.append((count, total)))
    assert calls == [(i + 1, summary.volumes) for i in range(summary.volumes)]
    return out


SPEC = ReleaseSpec(participants=8, seed=3, scale=0.06, defects=True)


def members(root: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for device in DEVICES:
        with zipfile.ZipFile(root / device / f"{device}.zip") as archive:
            assert archive.testzip() is None
            assert {info.date_time for info in archive.infolist()} <= {(2024, 11, 8, 0, 0, 0)}
            files |= {f"retinal_oct/structural_oct/{device}/{n}": archive.read(n) for n in archive.namelist()}
    return files


def test_manifest_and_participants_read_like_a_release(release: Path) -> None:
    raw = (release / "manifest.tsv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig")), delimiter="\t"))
    assert tuple(lines[0]) == COLUMNS
    assert len(COLUMNS) == 15
    assert all(line["filepath"].startswith("/retinal_oct/structural_oct/") for line in lines)
    read_back = aireadi.read_release(str(release))
    assert len(read_back.entries) == len(lines)
    assert set(read_back.splits) == {entry.participant for entry in read_back.entries}
    assert {entry.device for entry in read_back.entries} == set(DEVICES)
    assert len({entry.sop_instance_uid for entry in read_back.entries}) == len(lines)
    spectralis_disc = [line for line in lines if "_onh_rc_hr_" in line["filepath"]]
    assert {line["pixel_spacing"] for line in spectralis_disc} <= {"Varies by frame"}


def test_files_say_what_the_manifest_says(release: Path) -> None:
    files, facts = members(release), tables.read_table(str(release / "truth.parquet"))
    defect = dict(zip(facts["sop_instance_uid"], facts["defect"], strict=True))
    encodings: dict[str, set[str]] = {}
    for entry in aireadi.read_release(str(release)).entries:
        if defect[entry.sop_instance_uid]:
            continue
        data = files[entry.path]
        header = dicom.read_header(data, 10**9)
        assert header.shape == (entry.frames, entry.rows, entry.cols)
        assert (header.sop_instance_uid, header.eye) == (entry.sop_instance_uid, entry.eye)
        frames = list(decode.frames(data, header))
        assert np.mean(frames) > 5
        encodings.setdefault(entry.device, set()).add(header.transfer_syntax)
        measured = next(m for m in header.measures if m.pixel_mm)
        if entry.pixel_mm:
            assert measured.pixel_mm == pytest.approx(entry.pixel_mm, rel=1e-4)
        if entry.device == "zeiss_cirrus":  # the publisher's error
            assert measured.thickness_mm == pytest.approx(entry.pixel_mm[1], rel=1e-4)  # type: ignore[index]
    assert encodings["heidelberg_spectralis"] == {"1.2.840.10008.1.2.1"}
    for device in set(DEVICES) - {"heidelberg_spectralis"}:
        assert encodings[device] <= {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}


def defect_rows(release: Path) -> dict[str, dict]:
    """Defect -> its row of truth.parquet."""
    columns = tables.read_table(str(release / "truth.parquet"))
    all_rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    rows = {row["defect"]: row for row in all_rows if row["defect"]}
    assert sum(bool(row["defect"]) for row in all_rows) == len(rows)
    return rows


def entry_of(release: Path, uid: str) -> Entry:
    (entry,) = (e for e in aireadi.read_release(str(release)).entries if e.sop_instance_uid == uid)
    return entry


def decoded(data: bytes) -> np.ndarray:
    return np.stack(list(decode.frames(data, dicom.read_header(data, 10**9))))


def test_each_defect_is_there_once_and_earns_its_refusal(release: Path) -> None:
    files, rows = members(release), defect_rows(release)
    assert sorted(rows) == sorted(BY_NAME)
    uids = {name: row["sop_instance_uid"] for name, row in rows.items()}
    for name in ("truncated", "not_dicom", "no_pixel_data"):
        (data,) = (data for path, data in files.items() if uids[name] in path)
        with pytest.raises(Refused) as refusal:
            dicom.read_header(data, 10**9)
        assert refusal.value.reason == name == rows[name]["expected_reason"]
    assert not any(uids["missing_file"] in path for path in files)
    (data,) = (data for path, data in files.items() if uids["no_spacing"] in path)
    assert not any(m.pixel_mm for m in dicom.read_header(data, 10**9).measures)


def test_a_scan_upside_down_runs_against_its_device(release: Path) -> None:
    files, uid = members(release), defect_rows(release)["upside_down"]["sop_instance_uid"]
    entries = aireadi.read_release(str(release)).entries
    for entry in (e for e in entries if e.device == "topcon_maestro2"):
        header = dicom.read_header(files[entry.path], 10**9)
        place = geometry.classify(header.locations, header.frames)
        assert (place.kind, place.flipped) == ("raster", entry.sop_instance_uid == uid)
        if entry.sop_instance_uid != uid and entry.protocol.endswith("3d_macula"):
            assert header.locations[0][0, 0] < header.locations[-1][0, 0]


def test_turned_frames_keep_their_truth() -> None:
    """The same scan with and without the defect: everything about a frame moves with it."""
    people = [participant.person for participant in cohort.sample_cohort(4, 0)]
    job = next(job for job in jobs(people, ReleaseSpec(4, 0, 0.06, False)) if job.protocol is MAIN[1])
    (plain, truth_row), (turned, truth_row_turned) = (
        make(job),
        make(dataclasses.replace(job, defect="upside_down")),
    )
    assert (decoded(plain)[::-1] == decoded(turned)).all()
    shape = truth_row["shape"]
    rows, rows_turned = (truth.boundaries_of(t["boundaries"], shape) for t in (truth_row, truth_row_turned))
    assert (rows[:, ::-1] == rows_turned).all()
    assert (rows != rows_turned).any()
    fluid, fluid_turned = (truth.mask_of(t["drusen"], shape) for t in (truth_row, truth_row_turned))
    assert (fluid[::-1] == fluid_turned).all()
    locations = dicom.read_header(plain, 10**9).locations
    locations_turned = dicom.read_header(turned, 10**9).locations
    assert all((a == b).all() for a, b in zip(locations[::-1], locations_turned, strict=True))


def test_blinks_are_blank_and_dark_frames_of_known_number(release: Path) -> None:
    line = defect_rows(release)["blinks"]
    entry = entry_of(release, line["sop_instance_uid"])
    voxels = decoded(members(release)[entry.path]).astype(float)
    brightest = np.percentile(voxels, 99, axis=(1, 2))
    usual = np.median(brightest)
    assert (voxels.max(axis=(1, 2)) == 0).sum() == line["blank_frames"] > 0
    dark = (brightest > 0) & (brightest < 0.5 * usual)
    assert dark.sum() == line["no_retina_frames"] > 0
    assessed = quality.assess([quality.frame_stats(frame.astype(np.uint8)) for frame in voxels])
    assert assessed[:2] == (line["blank_frames"], line["no_retina_frames"])
    closing = list(Blinks.of(len(voxels)).closing)
    width = int(0.3 * voxels.shape[2])
    under, beside = voxels[closing, :, :width], voxels[closing, :, width:]
    assert np.percentile(under, 99) < 0.5 * usual < np.percentile(beside, 99)


@pytest.mark.parametrize("frames", [4, 5, 8, 64, 512])
def test_blinks_do_not_overlap_and_leave_most_frames(frames: int) -> None:
    blinks = Blinks.of(frames)
    hit = [*blinks.blank, *blinks.closed, *blinks.closing]
    assert len(hit) == len(set(hit)) <= frames // 2 + 1
    assert min(len(blinks.blank), len(blinks.closed)) >= 1
    assert max(hit) < frames


def test_the_other_eye_stands_in_the_file_alone(release: Path) -> None:
    entry = entry_of(release, defect_rows(release)["other_eye"]["sop_instance_uid"])
    header = dicom.read_header(members(release)[entry.path], 10**9)
    assert {header.eye, entry.eye} == {"L", "R"}
    assert entry.eye_in_name == entry.eye


@pytest.mark.parametrize("name", ["copied_file", "copied_pixels"])
def test_copies_repeat_a_sound_scan_under_another_name(release: Path, name: str) -> None:
    files, rows = members(release), defect_rows(release)
    copy = entry_of(release, rows[name]["sop_instance_uid"])
    same = [
        entry
        for entry in aireadi.read_release(str(release)).entries
        if (entry.participant, entry.device, entry.protocol) == (copy.participant, copy.device, copy.protocol)
    ]
    first, second = sorted(same, key=lambda entry: entry.path)
    assert second == copy  # in path order it comes after what it repeats
    assert first.sop_instance_uid not in {row["sop_instance_uid"] for row in rows.values()}
    assert (files[first.path] == files[copy.path]) == (name == "copied_file")
    assert (decoded(files[first.path]) == decoded(files[copy.path])).all()
    uid_in_file = dicom.read_header(files[copy.path], 10**9).sop_instance_uid
    assert uid_in_file == (first if name == "copied_file" else copy).sop_instance_uid


def test_what_is_expected_of_every_scan_is_written_down(release: Path) -> None:
    facts = tables.read_table(str(release / "truth.parquet"))
    for protocol, defect, reason, flags in zip(
        facts["protocol"], facts["defect"], facts["expected_reason"], facts["expected_flags"], strict=True
    ):
        if defect:
            assert (reason, tuple(filter(None, flags.split(",")))) == (
                BY_NAME[defect].reason,
                BY_NAME[defect].flags,
            )
        else:
            assert (reason, flags) == ("geometry_mixed" if protocol == "onh_rc_hr" else "", "")
    assert {defect.reason for defect in DEFECTS} <= {*REASONS, ""}


def test_defects_befall_as_many_scans_as_there_are() -> None:
    many = assign_defects({"topcon_triton": range(100, 200), "zeiss_cirrus": range(5)})
    triton = [defect for defect in DEFECTS if defect.device == "topcon_triton"]
    assert [many[i] for i in sorted(many) if i >= 100] == triton
    assert sum(i < 100 for i in many) == 1
    assert len(assign_defects({"topcon_triton": range(3)})) == 2
    assert assign_defects({"topcon_triton": range(1), "zeiss_cirrus": []}) == {}


def test_without_defects_nothing_is_planted() -> None:
    people = [participant.person for participant in cohort.sample_cohort(12, 3)]
    plain, with_defects = (jobs(people, dataclasses.replace(SPEC, defects=d)) for d in (False, True))
    assert not [job for job in plain if job.defect]
    assert len(with_defects) == len(plain) + 2  # the copies
    assert [job for job in with_defects if not job.copies] != list(plain)
    assert [dataclasses.replace(job, defect="") for job in with_defects if not job.copies] == list(plain)


def test_truth_goes_round(release: Path) -> None:
    facts = tables.read_table(str(release / "truth.parquet"))
    scan_jobs = jobs(
        [participant.person for participant in cohort.sample_cohort(SPEC.participants, SPEC.seed)], SPEC
    )
    for i, job in enumerate(scan_jobs):
        if job.person.state not in ("fluid", "drusen") or job.protocol is not MAIN[2]:
            continue  # at this scale only the Triton's frames are close enough to meet every lesion
        shape = facts["shape"][i]
        rows = truth.boundaries_of(facts["boundaries"][i], shape)
        assert rows.shape == (12, shape[0], shape[2])
        assert (np.diff(rows, axis=0) >= 0).all()
        drusen, fluid = (truth.mask_of(facts[name][i], shape) for name in ("drusen", "fluid"))
        step, dy, dx = facts["spacing_mm"][i]
        assert fluid.sum() * step * dy * dx == pytest.approx(facts["fluid_mm3"][i])
        z = np.arange(shape[1])[None, :, None] + 0.5
        if job.person.state == "fluid":  # inside the retina
            assert fluid.any()
            assert (((z >= rows[anatomy.INL][:, None] - 1) & (z <= rows[ELM][:, None] + 1)) | ~fluid).all()
        else:  # between the RPE and Bruch's membrane
            assert drusen.any()
            assert (((z >= rows[RPE][:, None]) & (z <= rows[BM][:, None] + 0.1)) | ~drusen).all()


def test_bytes_depend_on_the_seed_alone(release: Path, tmp_path: Path) -> None:
    write_release(str(tmp_path / "again"), SPEC, 2)
    names = sorted(path.relative_to(release) for path in release.rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()
    )
    for name in names:
        assert (release / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    people = cohort.sample_cohort(SPEC.participants, 4)
    other = make(jobs([participant.person for participant in people], dataclasses.replace(SPEC, seed=4))[0])[
        0
    ]
    assert other not in members(release).values()


def test_what_a_killed_phantom_left_goes(tmp_path: Path) -> None:
    left = [tmp_path / ".truth.parquet.12.ab.partial", *(
        tmp_path / name / f".{name}.zip.12.ab.partial" for name in DEVICES
    )]  # fmt: skip
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    write_release(str(tmp_path), ReleaseSpec(1, 0, 0.02, False), 1)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_device_scans_the_same_whichever_others_do(tmp_path: Path) -> None:
    every = dataclasses.replace(SPEC, participants=3, defects=False)
    write_release(str(tmp_path / "every"), every, 1)
    write_release(str(tmp_path / "one"), dataclasses.replace(every, devices=("zeiss_cirrus",)), 1)
    assert [path.name for path in (tmp_path / "one").glob("*/*.zip")] == ["zeiss_cirrus.zip"]
    one, other = (tmp_path / name / "zeiss_cirrus" / "zeiss_cirrus.zip" for name in ("one", "every"))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(UsageError, match=r"devices=\('heidelberg',\): want some of"):
        write_release(str(tmp_path), dataclasses.replace(SPEC, devices=("heidelberg",)), 1)


def test_a_release_lands_at_a_url() -> None:
    summary = write_release(
        "memory://phantom", ReleaseSpec(1, 0, 0.05, False, ("R",)), 1, lambda count, total, note: None
    )
    read_back = aireadi.read_release("memory://phantom")
    assert summary.volumes == len(read_back.entries) >= len(MAIN)
    assert {entry.eye for entry in read_back.entries} == {"R"}


@pytest.mark.parametrize(
    "wrong", [{"participants": 0}, {"scale": 0.0}, {"scale": 1.5}, {"eyes": ()}, {"eyes": ("left",)}]
)
def test_a_wrong_wish_is_one_clear_line(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError, match="want"):
        write_release(str(tmp_path), dataclasses.replace(SPEC, **wrong), 1)
    assert not list(tmp_path.iterdir())
