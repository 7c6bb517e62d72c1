"""Device ZIPs -> DICOM objects -> shards and tables. Never imports train or eval.

`release` finds the files, `dicom` takes one apart, `convert` makes a sample of it, `build` runs over all of
them. Another file format gets a file in `readers`, a new folder beside `dicom`, that `convert` calls
(CONTRIBUTING.md, "Adding a reader").
"""
