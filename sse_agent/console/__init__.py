"""Events → rich: a view; could be removed without changing anything else.

`frame.py` lays out what `board.py` knows, `rows.py` draws its parts, `screen.py` brings it to the terminal, and
`show.py` decides when.
"""

from sse_agent.console.frame import Frame, Moment
from sse_agent.console.rows import Glyphs
from sse_agent.console.show import show

__all__ = ["Frame", "Glyphs", "Moment", "show"]
