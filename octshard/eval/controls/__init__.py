"""What a pretrained encoder is compared with: a file for each control. None of them has learned from OCT
volumes; `slice_encoder` has learned from pictures.
"""
