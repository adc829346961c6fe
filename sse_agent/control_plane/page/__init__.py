"""The live page at `/`: files of the web platform, as they are. No build step, nothing from elsewhere."""

from sse_agent.control_plane.page.serving import Page

__all__ = ["Page"]
