"""`python -m sse_agent` is `sse-agent`."""

import sys

from sse_agent.cli import main

sys.exit(main())
