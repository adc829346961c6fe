"""Events → rich, and keys → the desk: a view; could be removed without changing anything else.

`frame.py` lays out what the board knows; `rows.py`, `uploads.py`, `talk.py`, `panels.py` and `foot.py` draw its parts,
with `glyphs.py`; `screen.py` brings it to the terminal, and `show.py` decides when. `state.py` is where a person is,
`keys.py` knows what a key means, `keyline.py` which keys mean something now, and `acting.py` does what they wish.
"""

from sse_agent.console.acting import Session
from sse_agent.console.frame import Frame, Moment
from sse_agent.console.glyphs import Glyphs
from sse_agent.console.logbook import Logbook
from sse_agent.console.show import say_farewell, show
from sse_agent.console.state import Mode, State

__all__ = ["Frame", "Glyphs", "Logbook", "Mode", "Moment", "Session", "State", "say_farewell", "show"]
