"""Paths that grow update by update."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import IO, TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from fusedstep.gallery._landscapes import Landscape
from fusedstep.gallery._plot import PathsFigure

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

__all__ = ["Animation", "animate_paths"]

DPI = 80
DURATION = 100  # ms of a frame
AT_THE_END = 2000  # ms of the last one


class Animation:
    """Paths that grow update by update: a GIF, which notebooks show."""

    def __init__(self, paths: PathsFigure) -> None:
        self._paths = paths
        paths.figure.set_dpi(DPI)
        self._size = paths.figure.canvas.get_width_height()

    @property
    def n_frames(self) -> int:
        """One for the start and one for each update."""
        return self._paths.updates + 1

    def save(
        self,
        file: str | PathLike[str] | IO[bytes],
        *,
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        """Write the GIF.

        Parameters
        ----------
        file : str, path or binary file
            Where to.
        advance : callable, optional
            What to call after each frame, such as the ``update`` of a progress bar.
        """
        from PIL import Image

        width, height = self._size
        # Below each other, for one choice of colours: what rests has the same ones in all frames
        # then, and takes no space where one is left for "as before".
        strip = Image.new("RGB", (width, height * self.n_frames))
        tops = range(0, strip.height, height)
        for top, frame in zip(tops, self._frames(), strict=True):
            strip.paste(frame, (0, top))
            advance()
        strip = strip.quantize(255)
        first, *others = (strip.crop((0, top, width, top + height)) for top in tops)
        first.save(
            file,
            format="gif",
            save_all=True,
            append_images=others,
            duration=[DURATION] * len(others) + [AT_THE_END],
            loop=0,
        )

    def _frames(self) -> Iterator[PilImage]:
        """Draw what rests once, and only what moves for each frame."""
        from PIL import Image

        figure, moving = self._paths.figure, self._paths.moving
        canvas: Any = figure.canvas  # of Agg, whose methods have no types
        for artist in moving:
            artist.set_animated(True)  # for `draw`, which leaves it out
        canvas.draw()
        background = canvas.copy_from_bbox(figure.bbox)
        for update in range(self.n_frames):
            self._paths.show(update)
            canvas.restore_region(background)
            for artist in moving:
                artist.axes.draw_artist(artist)
            pixels = bytes(canvas.buffer_rgba())
            yield Image.frombytes("RGBA", self._size, pixels).convert("RGB")

    def _repr_html_(self) -> str:
        with io.BytesIO() as buffer:
            self.save(buffer)
            encoded = base64.b64encode(buffer.getvalue()).decode()
        return f'<img src="data:image/gif;base64,{encoded}" alt="{self._paths.title}">'


def animate_paths(
    landscape: Landscape, paths: Mapping[str, ArrayLike], *, title: str = "", note: str = ""
) -> Animation:
    """Animate paths over the contours of a landscape: a frame for each update.

    Parameters
    ----------
    landscape : Landscape
        What to draw them on.
    paths : mapping
        From names to points, as :func:`descend` returns them.
    title, note : str
        Above and below the figure.

    Returns
    -------
    Animation
        To save (``.save("paths.gif")``), or to show in a notebook.
    """
    return Animation(PathsFigure(landscape, paths, title, note))
