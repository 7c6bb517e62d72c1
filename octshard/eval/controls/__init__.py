"""What a pretrained encoder is compared with: a file for each control. None of them has learned from OCT
volumes; `slice_encoder` has learned from pictures.
"""

RANDOM, INTENSITY, THICKNESS, PROVENANCE = "random-init", "raw-intensity", "thickness", "site-and-device"
MEANINGS = {
    RANDOM: "the same architecture with random weights",
    INTENSITY: "a histogram, moments, percentiles and coarse en face and B-scan averages of the same voxels",
    THICKNESS: "made by hand from the retinal band that prep found: thickness in micrometres on a grid and "
    "in rings around the fovea, roughness of its surfaces, reflectance by depth and en face",
    PROVENANCE: "what the tables say of site, device and protocol, without any voxel",
}
SLICES = "a 2-D encoder that reads B-scans one by one"
