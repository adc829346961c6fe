"""The pages of the reference that the code knows best, one file a page or two; `scripts/reference` writes them.

settings.py     .env.example, docs/reference/settings.md
states.py       docs/reference/states.md
log_events.py   docs/reference/log-events.md
commands.py     docs/reference/commands.md; what --json prints is in shapes.py
hostile.py      docs/reference/hostile-peers.md
"""

GENERATED = "<!-- Made by scripts/reference from the code; edit that. -->\n"
