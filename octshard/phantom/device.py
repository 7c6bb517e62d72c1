"""The four OCT devices of AI-READI and their protocols: shapes and extents as released, plausible optics.

Shapes, extents and encodings are those of the public data dictionary. Noise, blur and display are our choice:
pictures resemble each device's, and every device needs its own normalisation.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One instrument: its names, its optics and its display."""

    name: str
    manufacturer: str
    model: str
    encoding: str  # native | j2k
    lossless_share: float  # of its J2K files
    axial_um: float  # full width at half maximum of the point spread, in tissue
    lateral_um: float
    looks: float  # independent speckle patterns averaged, at full resolution
    noise_db: float  # floor below the brightest RPE
    rolloff_db_per_mm: float
    choroid_db_per_mm: float  # attenuation below the RPE
    black_db: float  # shown as 0
    white_db: float  # shown as 255
    toe: float  # exponent of the display curve: above 1 it darkens low levels
    localizer_px: int
    bottom_up: bool  # frames run from inferior to superior


@dataclass(frozen=True)
class Protocol:
    """One scan pattern. Extents in mm (slow, axial, fast); centre macula | disc | between."""

    name: str
    device: str
    region: str  # the manifest's anatomic_region
    frames: int
    rows: int
    cols: int
    extent_mm: tuple[float, float, float]
    centre: str
    share: float  # of eyes that have it
    pattern: str = "raster"  # raster | radial_circle
    measures: str = "shared"  # where PixelMeasures stand: shared | per_frame
    degrees: float = 0.0  # tilt of the raster on the fundus
    thickness: str = "step"  # what SliceThickness holds: step | column (the publisher's error) | none


DEVICES = {
    device.name: device
    for device in (
        Device(
            "heidelberg_spectralis", "Heidelberg", "Spectralis", "native", 1.0, axial_um=7, lateral_um=14,
            looks=5.0, noise_db=-35.0, rolloff_db_per_mm=1.5, choroid_db_per_mm=33.0, black_db=-35.5,
            white_db=1.5, toe=1.0, localizer_px=768, bottom_up=True,
        ),
        Device(
            "topcon_maestro2", "Topcon", "Maestro2", "j2k", 0.15, axial_um=6, lateral_um=20,
            looks=3.4, noise_db=-33.2, rolloff_db_per_mm=2.5, choroid_db_per_mm=22.0, black_db=-34.5,
            white_db=2.0, toe=1.0, localizer_px=1024, bottom_up=False,
        ),
        Device(
            "topcon_triton", "Topcon", "Triton", "j2k", 0.15, axial_um=8, lateral_um=20,
            looks=4.5, noise_db=-33.5, rolloff_db_per_mm=0.6, choroid_db_per_mm=10.0, black_db=-36.0,
            white_db=2.0, toe=1.05, localizer_px=1024, bottom_up=False,
        ),
        Device(
            "zeiss_cirrus", "Zeiss", "Cirrus", "j2k", 0.15, axial_um=5, lateral_um=15,
            looks=3.0, noise_db=-30.8, rolloff_db_per_mm=3.0, choroid_db_per_mm=17.0, black_db=-32.5,
            white_db=2.5, toe=0.95, localizer_px=768, bottom_up=False,
        ),
    )
}  # fmt: skip

_SPECTRALIS, _MAESTRO2, _TRITON, _CIRRUS = DEVICES
PROTOCOLS = (
    Protocol("ppol_mac_hr", _SPECTRALIS, "Macula", 61, 496, 768, (7.808, 1.9205, 9.2621), "macula", 1.0,
             degrees=7.0),
    Protocol("onh_rc_hr", _SPECTRALIS, "Optic Disc", 27, 496, 768, (0.0, 1.9205, 4.6), "disc", 0.5,
             pattern="radial_circle", measures="per_frame", thickness="none"),
    Protocol("20x20", _SPECTRALIS, "Macula, 20 x 20", 512, 496, 512, (5.93, 1.9205, 5.93), "macula", 0.15),
    Protocol("3d_macula", _MAESTRO2, "Macula", 128, 885, 512, (6.0, 2.301, 6.0), "macula", 1.0),
    Protocol("3d_wide", _MAESTRO2, "Wide Field", 128, 885, 512, (9.0, 2.301, 12.0), "between", 0.4),
    Protocol("macula_6x6", _MAESTRO2, "Macula, 6 x 6", 360, 885, 360, (6.0, 2.301, 6.0), "macula", 0.15),
    Protocol("macula_6x6", _TRITON, "Macula, 6 x 6", 320, 992, 320, (6.0, 2.5792, 6.0), "macula", 1.0),
    Protocol("macula_12x12", _TRITON, "Macula, 12 x 12", 512, 992, 512, (12.0, 2.5792, 12.0), "macula", 0.2),
    Protocol("3d_radial", _TRITON, "Optic Disc", 256, 992, 512, (9.0, 2.5792, 12.0), "between", 0.4),
    Protocol("macular_cube", _CIRRUS, "Macula", 128, 1024, 512, (6.0, 2.0, 6.0), "macula", 1.0,
             thickness="column"),
    Protocol("optic_disc_cube", _CIRRUS, "Optic Disc", 200, 1024, 200, (6.0, 2.0, 6.0), "disc", 0.5,
             thickness="column"),
    Protocol("macula_6x6", _CIRRUS, "Macula, 6 x 6", 350, 1024, 350, (6.0, 2.0, 6.0), "macula", 0.15),
)  # fmt: skip
