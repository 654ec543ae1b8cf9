"""A plot in all its forms. Imports no Matplotlib: other processes may have drawn it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plot:
    """A plot in every form that the report needs.

    Attributes:
      name: of its files, letters, digits and underscores.
      title: its heading.
      alt: what it shows, for those who do not see it.
      wide, narrow: SVG, for a desk and for a phone.
      png: the wide cut in the light theme.
      csv: its data.
      data: what the page's script needs to read the plot out to the pointer, if it does.
    """

    name: str
    title: str
    alt: str
    wide: str
    narrow: str
    png: bytes
    csv: bytes
    data: Any = None
