"""Refusals and flags, and what each means in one sentence: the report page and the docs print the same.

A refused file is in no shard; a flagged volume is in one, and the flag says what is odd about it.
"""

from octshard.printable import printable

REASON_MEANS = {
    "missing_file": "The manifest lists the file, but nothing stands at that path.",
    "unreadable_member": "Its ZIP, or the member there, is damaged, encrypted or hostile.",
    "not_dicom": "The bytes are neither DICOM (PS3.10) nor another format that is read; the detail says what "
    "they look like.",
    "missing_library": "The library that reads this format is not installed; the detail names the extra.",
    "truncated": "The file ends, or turns into zeros, before its content does: most often a broken download.",
    "no_pixel_data": "There is a header, but there are no pixels behind it.",
    "frame_count": "The header promises another number of frames than the pixels hold.",
    "unreadable": "The format is known, but a needed value is missing, makes no sense or is not supported.",
    "decoder_error": "The compressed pixels are damaged, not as the header says, or of a kind not read.",
    "decoder_crash": "The codec crashed or ran out of memory on this file, twice; no other file was harmed.",
    "decoder_timeout": "The codec did not finish this file within the time allowed, twice.",
    "unsupported_syntax": "The pixels are in an encoding that no installed codec reads.",
    "geometry_radial": "The frames are lines through one centre, like spokes: no stack of parallel slices.",
    "geometry_circle": "The frames are circles around one centre: no stack of parallel slices.",
    "geometry_line": "There is one frame, or all frames lie on one line: nothing to stack.",
    "geometry_uneven": "The frames are parallel, but their steps differ, repeat or interleave.",
    "geometry_mixed": "The frames lie in more than one pattern, such as spokes and circles.",
    "part_of_scan": "The file holds a part of a scan; other files hold the rest (ConcatenationUID), and the "
    "row does not name them, or one is missing or twice there.",
    "parts_differ": "The files of one scan contradict each other: in size, eye, spacing, place or UID.",
    "several_volumes": "The file, or folder, holds several volumes: stacks, times, both eyes, or series.",
    "frame_order": "What the file says of the frames' places, or the names of a folder's images, tells no "
    "one order.",
    "not_oct": "It holds something else than an OCT scan, or is in colour.",
    "too_large": "It declares, or would be stored as, more voxels than the config allows.",
    "empty": "The file, or the volume in it, has no content.",
    "duplicate": "The same bytes, or for one eye or UID the same voxels, as another file, which is stored; "
    "the detail names it.",
}
REASONS = tuple(REASON_MEANS)
LONGEST = 1000  # characters of a detail: it may quote the file, and libraries quote as much as they read

FLAG_MEANS = {
    "assumed_spacing": "No spacing is told that can be used; the volume was stretched to the image size.",
    "bits_differ_from_header": "Compressed frames hold other bits, or another sign, than the header says; "
    "they were read as pydicom reads them.",
    "blank_frames": "Some frames hold nothing: one grey level or next to it.",
    "constant": "Every stored voxel has the same value.",
    "decoded_fast": "JPEG 2000 was decoded at reduced resolution, as decode=fast allows.",
    "equal_pixels": "Another volume has exactly the same stored voxels.",
    "eye_differs_by_frame": "FrameLaterality names the other eye than ImageLaterality, which is believed.",
    "eye_differs_from_manifest": "The file's header names the other eye; the manifest is believed.",
    "eye_differs_from_name": "The file name says the other eye; the manifest, or else the file, is believed.",
    "fast_axis_reversed": "The A-scans run from right to left on the retina, as stored too.",
    "frame_locations_missing": "Some frames do not say where they lie; the geometry is that of the others.",
    "frames_lost": "The file declares more B-scans than it holds; if it is stored, no gap is known between "
    "those that are there.",
    "frames_mirrored": "Some frames ran against the others, as in a serpentine, and were turned round.",
    "frames_sorted": "The frames came out of order, and were put in the order of their places.",
    "geometry_unknown": "Most frames do not say where they lie; it is taken for an evenly spaced raster.",
    "images_left_out": "In the folder of B-scans lie images of other names; they were left out, and the "
    "detail names them.",
    "implausible_axial_spacing": "The depth step is below 1 µm, or the scan is less than 0.15 or more than 8 "
    "mm deep.",
    "implausible_lateral_spacing": "The step between A-scans is below 2 µm, or B-scans are less than 0.25 or "
    "more than 30 mm wide.",
    "implausible_slice_spacing": "The step between B-scans is below 2 µm or above 2 mm or 250 A-scans, or "
    "the scan exceeds 30 mm.",
    "levels_rescaled": "Values that are no grey levels, such as floats, reflectance or negative numbers, "
    "were mapped to levels, and invalid ones to black.",
    "mapped_to_uint8": "More than 8 bits came; the 0.1 and 99.9 % levels became 0 and 255.",
    "no_retina_frames": "Some frames show no retina: dark or noise from top to bottom.",
    "pixel_spacings_differ": "Sources of the in-plane spacing differ by more than 5 %; the first in the "
    "search order is believed.",
    "saturated": "Many voxels are at the brightest level: what was brighter is lost.",
    "shape_differs_from_manifest": "Frames, rows or columns differ from the manifest; the file is believed.",
    "shape_differs_from_name": "The file name says other numbers of frames or columns; the text beside the "
    "file is believed, which its size confirms.",
    "shared_uid": "Another volume has the same SOPInstanceUID, but other content or another person or eye.",
    "slice_step_from_locations": "The step was taken from where the frames lie in the localizer; no number "
    "that stands in the file is within 5 % of it.",
    "slice_step_from_manifest": "The step between B-scans was taken from the manifest.",
    "slice_step_from_per_frame": "The step between B-scans was taken from the items of the single frames.",
    "slice_step_from_positions": "The step was taken from the frames' positions in mm; no number that stands "
    "in the file is within 5 % of it.",
    "slice_step_from_shared": "The step between B-scans was taken from the items that all frames share.",
    "slice_step_from_square_scan": "No step is given; Cirrus scans are square, so it follows from the width.",
    "slice_step_from_top_level": "The step between B-scans was taken from the top level of the header.",
    "slice_step_unknown": "The step between B-scans stands nowhere, so the spacing was assumed.",
    "slice_steps_differ": "Frame locations, positions, spacing between slices or thicknesses differ by more "
    "than 5 %; the most trusted is believed.",
    "slice_thickness_is_column_spacing": "The file's thickness repeats the column spacing, a known error of "
    "Cirrus files; the step is that of a square scan, unless a better source tells it.",
    "slice_thickness_is_not_step": "The thickness differs by more than 5 % from the step that better sources "
    "tell; it is no step.",
    "slices_are_no_stack": "The slices are lines through a centre, circles, or in one place: they have no "
    "step in mm, and each is stored as it is; slice_axis and slice_places say where it lies.",
    "slow_axis_flipped": "The B-scans came in the opposite order and were put in the usual one.",
    "spacing_from_angle": "The file tells the width of B-scans in degrees; a degree was taken for 0.29 mm, "
    "as in an eye of medium length.",
    "spacing_is_placeholder": "A spacing is one that converters write where they know none, such as 1 mm; it "
    "was left out.",
    "spacing_looks_swapped": "The depth step is greater than the step between A-scans, and the scan has no "
    "usual size: rows and columns may be exchanged.",
    "spacing_unreadable": "A spacing stands in the file or manifest that is no length, or can be read in two "
    "ways; it was left out.",
    "spacing_varies_by_frame": "The frames disagree on the in-plane spacing by more than 1 %.",
    "uid_differs_from_manifest": "The file's SOPInstanceUID is not the manifest's; the manifest is believed.",
}


class Refused(Exception):
    """An input file that cannot become a sample: becomes a row with status `refused`, never a crash.

    The detail is as `row_detail` makes it. private: pieces of it that are the file's own words, or names of
    files, which `public` does not have.
    """

    def __init__(self, reason: str, detail: str, private: tuple[str, ...] = ()) -> None:
        if reason not in REASONS:
            raise ValueError(f"refusal reason {reason!r} is not one of {REASONS}")
        self.reason, self.detail, self.private, self._whole = reason, row_detail(detail), private, detail
        super().__init__(f"{reason}: {self.detail}")

    @property
    def public(self) -> str:
        """The whole detail with dots for what is private."""
        detail = self._whole
        for text in sorted(filter(None, self.private), key=len, reverse=True):
            detail = detail.replace(text, "...")
        return detail

    def behind(self, lead: str, private: tuple[str, ...] = (), reason: str = "") -> "Refused":
        """With a text in front of its own; private: pieces of that text. reason: another one, if any."""
        return Refused(reason or self.reason, lead + self._whole, (*private, *self.private))

    def __reduce__(self) -> tuple[type, tuple[str, str, tuple[str, ...]]]:
        return type(self), (self.reason, self._whole, self.private)


def row_detail(text: str) -> str:
    """As a row has it: one line, with escapes for what would steer a terminal, and cut at LONGEST."""
    text = printable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
