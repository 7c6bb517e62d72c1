"""DICOM bytes: `header` and pixels (`decode`) out, and a `writer` for phantoms and tests.

`header.parse` and `header.check` give a `Header`, `decode.frames` its frames (H, W) one by one: that is what
`convert` asks of a file format.
"""
