"""Events → rich, and keys → the desk: a view; could be removed without changing anything else.

`frame.py` lays out what `board.py` knows; `rows.py`, `uploads.py`, `panels.py` and `foot.py` draw its parts;
`screen.py` brings it to the terminal, and `show.py` decides when. `keys.py` knows what a key means, `keyline.py` which
keys mean something now, and `acting.py` does what they wish.
"""

from sse_agent.console.acting import Session
from sse_agent.console.frame import Frame, Moment
from sse_agent.console.keys import Mode, State
from sse_agent.console.logbook import Logbook
from sse_agent.console.rows import Glyphs
from sse_agent.console.show import show

__all__ = ["Frame", "Glyphs", "Logbook", "Mode", "Moment", "Session", "State", "show"]
