"""What of this machine and its network would keep the agent from working, in words. Changes nothing anywhere.

report.py         one check: ok, warning or failed; what was found, what to do
deadline.py       a bound for what nothing can break: a resolver, a network disk
machine.py        settings files, state directory, journal, allowed folders
line.py           name, TCP, the proxy's tunnel, TLS: one step at a time, so that each can be named
certificates.py   who issued a certificate that was not trusted: pure
peer.py           these steps as checks, for whichever peer
control_plane.py  the token and the clock, or how the running agent's own stream is
tus_server.py     OPTIONS
clock.py          this machine's clock against a Date header
all.py            everything, side by side, within a minute
"""
