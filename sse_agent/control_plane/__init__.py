"""The other end: holds the agents' streams, queues commands, records what agents report.

A reference implementation of the wire contract, and an optional extra of the package. It shares `messages`,
`lifecycle`, `clock` and `errors` with the agent and nothing else; the agent never imports it.

    service ──POST──▶ commands ──stream | polling──▶ agent ──POST──▶ reports ──feed──▶ pages
                          └───────────── engine (SQLite | Redis) ────────┘

Everything durable is behind `engine.Engine`; what is decided without I/O is in `fencing` and `resumption`.
"""
