"""All errors that the project raises on purpose, as one tree.

SafaError                     anything below; the command line prints it as one line
├── UsageError                the caller asked for something that cannot be (exit code 2)
│   ├── LayoutError           view, overlap and duration do not fit each other
│   ├── PromptError           empty prompt, bad weight
│   └── SceneError            a scene file with unknown or wrong fields
└── FailureError              the request was fine, the world was not (exit code 1)
    ├── ModelError            model files missing, damaged, of another version
    ├── OutputError           a file cannot be written
    ├── SnapshotError         a saved stream or trajectory is damaged or of another version
    ├── ClusterError          a Ray cluster is absent, does not answer or does not fit
    └── TrainingDataError     the training folder or a recording cannot be used
"""

from __future__ import annotations


class SafaError(Exception):
    """Anything the project raises on purpose; its text says what was wrong, where, and what to do."""

    exit_code = 1


class UsageError(SafaError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class LayoutError(UsageError):
    """View, overlap and duration do not fit each other."""


class PromptError(UsageError):
    """A prompt is empty or a weight is not a positive number."""


class SceneError(UsageError):
    """A scene has unknown or wrong fields."""


class FailureError(SafaError):
    """The request was fine, the world was not."""


class ModelError(FailureError):
    """Model files are missing, damaged or of another version."""


class OutputError(FailureError):
    """A file cannot be written."""


class SnapshotError(FailureError):
    """A saved stream or trajectory is damaged or of another version."""


class ClusterError(FailureError):
    """A Ray cluster, or Ray itself, is absent, does not answer or does not fit this process."""


class TrainingDataError(FailureError):
    """The training folder or one of its recordings cannot be used."""
