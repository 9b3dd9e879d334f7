"""Classes of libraries that are not imported here: only whoever has imported one has its objects."""

from __future__ import annotations

import sys

__all__ = ["imported"]


def imported(library: str, name: str) -> type | tuple[()]:
    """The class of a library, for ``isinstance``; of a library that nobody has imported, no class.

    Nor of what only has its name, as a folder called torch where torch is not installed.
    """
    found = getattr(sys.modules.get(library), name, None)
    return found if isinstance(found, type) else ()
