"""The agent's journal on a disk that forgets what was not synced, and that fails now and then."""
