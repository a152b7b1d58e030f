"""Where windowtax keeps files on this machine."""

from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder for windowtax (weights, measured machine). Made if it is not there."""
    folder = platformdirs.user_cache_path("windowtax")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
