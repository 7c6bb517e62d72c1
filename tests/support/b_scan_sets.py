"""Made-up copies of public data sets of B-scans, in the layouts in which they are delivered."""

import io
from collections.abc import Sequence

import numpy as np
import openpyxl
import scipy.io

from tests.support.array_files import Files
from tests.support.image_files import b_scans, below, encoded
from tests.support.made_release import scan

Rows = Sequence[Sequence[str]]
OCTA_IDS = (10001, 10190, 10300, 10301, 10445, 10500)
OCTA_ROWS: Rows = [
    ["ID", "Sex", "OS/OD", "Age", "Disease"],
    ["10001", "F", "OD", "12", "NORMAL"],
    ["10190", "M", "OS", "57", "AMD"],
    ["10300", "M", "OD", "61", "DR"],
    ["10301", "F", "OS", "44", "CNV"],
    ["10445", "M", "OD", "33", "NORMAL"],
    ["10500", "F", "OS", "71", "DR"],
]


def csv(rows: Rows) -> bytes:
    return "\n".join(",".join(row) for row in rows).encode()


def workbook(rows: Rows) -> bytes:
    """Numbers are numbers, and what is empty is no cell."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append([int(cell) if cell.isdigit() else cell or None for cell in row])
    book.save(file := io.BytesIO())
    return file.getvalue()


def octa_500() -> Files:
    """OCT and OCTA volumes, and projection maps of both, of a few people of either field of view."""
    files: dict[str, bytes] = {}
    for number in OCTA_IDS:
        home = "OCTA_3mm" if number > 10300 else "OCTA_6mm"
        voxels_DHW = scan(number).voxels_DHW
        files |= below(f"{home}/OCT/{number}/", b_scans(voxels_DHW, "BMP"))
        files |= below(f"{home}/OCTA/{number}/", b_scans(255 - voxels_DHW, "BMP"))
        files[f"{home}/Projection Maps/OCT(FULL)/{number}.bmp"] = encoded(voxels_DHW[0], "BMP")
    for home, rows in (("OCTA_6mm", OCTA_ROWS[:4]), ("OCTA_3mm", [OCTA_ROWS[0], *OCTA_ROWS[4:]])):
        files[f"{home}/Text labels.xlsx"] = workbook(rows)
    return files


OLIVES_EYES = (
    "Prime_FULL/01-001/W0/OD",
    "Prime_FULL/01-001/W4/OD",
    "TREX DME/GILA/0201GOD/V1/OD",
    "TREX DME/TREX/0201TOS/V1/OS",
)
OLIVES_PATH = "Path (Trial/Arm/Folder/Visit/Eye/Image Name)"


def olives() -> Files:
    """49 B-scans are six here; labels of two eyes, which differ among B-scans and visits."""
    files: dict[str, bytes] = {}
    rows = [[OLIVES_PATH, "Scan (n/49)", "DRT/ME", "Fluid (IRF)", "Eye_ID", "BCVA", "CST", "Patient_ID"]]
    for number, home in enumerate(OLIVES_EYES):
        images = b_scans(scan(number).voxels_DHW, "TIFF")
        named = {f"TREXJ_{i:06d}.tif": data for i, data in enumerate(images.values())}
        eye, visit = home.split("/")[-1], home.split("/")[-2]
        fundus = {
            f"fundus_{eye}_{visit}.tif": images["1.tiff"],
            f"fundus_{visit}.png": encoded(scan().voxels_DHW[0]),
        }
        files |= below(f"OLIVES/{home}/", {**named, **fundus})
        if number < 3:
            for i, name in enumerate(named):
                cells = [str(i + 1), str(int(i == 4)), "0", str(number), str(70 + number), "300", "1"]
                rows.append([f"/{home}/{name}", *cells])
    labels = "OLIVES_Dataset_Labels/ml_centric_labels/Biomarker_Clinical_Data_Images.csv"
    return {**files, labels: csv(rows)}


def octdl() -> Files:
    """Single B-scans; one person has two diseases."""
    rows = [
        [
            "file_name",
            "disease",
            "subcategory",
            "condition",
            "patient_id",
            "eye",
            "sex",
            "year",
            "image_width",
            "image_hight",
        ]
    ]
    files = {}
    for number, (disease, patient) in enumerate((("AMD", 7), ("AMD", 7), ("NO", 7), ("DME", 12), ("NO", 15))):
        name = f"{disease.lower()}_{100 + number}_1"
        files[f"OCTDL/{disease}/{name}.jpg"] = encoded(scan(number).voxels_DHW[0], "JPEG", "RGB")
        rows.append([name, disease, "", "", str(patient), "OD", "M", "1950", "24", "20"])
    files["OCTDL/NO/unlisted_1_1.jpg"] = encoded(scan(9).voxels_DHW[0], "JPEG", "RGB")
    return {**files, "OCTDL_labels.csv": csv(rows)}


def duke_2013() -> Files:
    """AMD and controls, with numbers that are used in both."""
    files = {}
    for number, group in enumerate(("AMD", "AMD", "Control")):
        file, voxels_DHW = io.BytesIO(), scan(number).voxels_DHW
        arrays = {
            "Age": 70 + number,
            "images": voxels_DHW.transpose(1, 2, 0),
            "layerMaps": np.zeros((6, 24, 3)),
        }
        scipy.io.savemat(file, arrays, do_compression=True)
        name = f"Farsiu_Ophthalmology_2013_{group}_Subject_{1001 + number % 2}.mat"
        files[f"{group}/{name}"] = file.getvalue()
    return files


def duke_2014() -> Files:
    """Cropped and whole B-scans; the whole ones are read."""
    files: dict[str, bytes] = {}
    for number, person in enumerate(("AMD1", "DME1", "NORMAL2")):
        images = b_scans(scan(number).voxels_DHW, "TIFF")
        named = {f"{i:03d}.tif": data for i, data in enumerate(images.values(), start=1)}
        files |= below(f"Publication_Dataset/{person}/TIFFs/8bitTIFFs/", named)
        files |= below(f"Publication_Dataset/{person}/TIFFs/8bitTIFFs_cropped/", named)
    return files
