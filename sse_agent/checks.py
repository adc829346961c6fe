"""`check` and every start: what of this machine and its network would keep the agent from working, in words."""
