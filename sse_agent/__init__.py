"""The agent: commands in over Server-Sent Events, files up over tus, reports out over REST."""

from importlib.metadata import version

__version__ = version("sse-agent")
