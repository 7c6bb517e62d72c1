"""What a refusal or a flag asks for: nothing, the file again, a library, or a look."""

from octshard.dataset.tables import SampleRow

# why a file is refused, the gravest first
UNEXPLAINED, DAMAGED, NO_STACK = "not explained", "damaged or missing", "nothing to store"
LIBRARY = "needs a library"
KINDS = (UNEXPLAINED, LIBRARY, DAMAGED, NO_STACK)
_DAMAGED = frozenset(
    {
        "missing_file",
        "unreadable_member",
        "not_dicom",
        "truncated",
        "no_pixel_data",
        "frame_count",
        "decoder_error",
        "empty",
    }
)
_NO_STACK = frozenset(
    {
        "geometry_radial",
        "geometry_circle",
        "geometry_line",
        "geometry_uneven",
        "geometry_mixed",
        "part_of_scan",
        "several_volumes",
        "not_oct",
        "duplicate",
    }
)
HARMLESS = frozenset(  # flags that say what was done or seen, and ask for nothing
    {
        "decoded_fast",
        "fast_axis_reversed",
        "frame_locations_missing",
        "frames_mirrored",
        "frames_sorted",
        "levels_rescaled",
        "mapped_to_uint8",
        "shape_differs_from_manifest",
        "shape_differs_from_name",
        "shared_uid",
        "slice_step_from_locations",
        "slice_step_from_manifest",
        "slice_step_from_per_frame",
        "slice_step_from_positions",
        "slice_step_from_shared",
        "slice_step_from_square_scan",
        "slice_step_from_top_level",
        "slice_thickness_is_column_spacing",
        "slice_thickness_is_not_step",
        "slices_are_no_stack",
        "slow_axis_flipped",
        "spacing_from_angle",
        "spacing_varies_by_frame",
    }
)


def kind_of(reason: str) -> str:
    """One of KINDS; a reason of another version of octshard explains nothing here."""
    if reason == "missing_library":
        return LIBRARY
    return DAMAGED if reason in _DAMAGED else NO_STACK if reason in _NO_STACK else UNEXPLAINED


def to_look_at(row: SampleRow) -> tuple[str, ...]:
    """The flags of a row that ask for a look."""
    return tuple(flag for flag in row.flags if flag not in HARMLESS)
