"""Which eye a word means: L and R, in any spelling that tables use."""

EYES = {"l": "L", "left": "L", "os": "L", "r": "R", "right": "R", "od": "R"}
