"""The engine on Redis: any number of processes on one Redis. Each deed is one script, which runs alone and whole."""

from sse_agent.control_plane.redis.adapter import RedisEngine

__all__ = ["RedisEngine"]
