"""Labels, heads on frozen features and their scores by participant: what eval and a run that trains share.

A head (`linear`) is arrays in, probabilities out; it never sees test.
"""
