"""Where the real material for tests lies: the folder named by SHARED_DATA, or shared/data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

_CANDIDATE = Path(os.environ.get("SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

SHARED: Path | None = _CANDIDATE if (_CANDIDATE / "real_slides" / "slides.csv").is_file() else None
REASON = "real material (shared/data) is not here: set SHARED_DATA to its folder"
