"""The contract as a test kit: `sse-agent conformance URL` says what a control plane keeps of it, and what it breaks.

    check.py      one check: a name, the sentence of the contract, what carries it out
    frames.py     bytes of a stream → frames, comments and the order of fields kept: pure
    peer.py       HTTP with a memory: what was sent, what came
    speakers.py   whom the checks speak as: an agent, and a service
    kit.py        what checks are handed: both of them, and what they share
    run.py        one check after the other, each with a verdict
    the rest      the checks, one file a group

It speaks plain HTTP as an agent and as a service, knows nothing of how the other end is made, and shares with the agent
only the wire (`messages`), the clock and the errors.
"""
