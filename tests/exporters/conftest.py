"""Tests of checkpoints need the extra "torch" besides what exporting needs."""

from __future__ import annotations

import importlib.util

NEEDED = ("torch", "onnxscript", "diffusers", "transformers")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, NEEDED)) else ["test_sources*.py"]
