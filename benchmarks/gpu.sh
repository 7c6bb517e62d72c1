#!/usr/bin/env bash
# What a machine with a GPU should show, in under 8 minutes: ten steps of smoke_test on made-up eyes, the speed of
# ViT-B's step at both presets, the wait for data, and a resumed run that is equal bit for bit.
#   benchmarks/gpu.sh [--quick] [--json FILE]
# Without a GPU everything runs on the CPU at a small size, and says so: that shows that it works, and no speed.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
exec "$python" benchmarks/gpu.py "$@"
