"""An engine's sessions on the disk that all engines share: each in the folder of the epoch in which it is its."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safa_server.cluster.claims import FIRST, place_of
from safa_server.disk import Disk
from safa_server.storage import Place, Storage
from safa_stream.models.interface import Model
from safa_stream.session import snapshots


class ClaimedStorage(Storage):
    """Snapshots come with every view: what a lost engine's sessions have ahead is then there without making it again.

    kept: told of every snapshot that was written, with the folder that it is in.
    """

    def __init__(
        self, folder: Path, model: Model, kept: Callable[[Path], None] = lambda place: None, disk: Disk | None = None
    ) -> None:
        super().__init__(folder, model, least_seconds=0.0, longest_seconds=0.0, disk=disk)
        self._kept = kept

    def place_of(self, session_id: str, tenant: str | None = None) -> Path:
        """The folder of a session that begins here. Tenants have none of their own: engines are told what to adopt."""
        return place_of(self.folder, session_id, FIRST)

    def _write(self, place: Place, captured: snapshots.Captured) -> bool:
        written = super()._write(place, captured)
        if written:
            self._kept(place.folder)
        return written
