"""What the agent shows the control plane: a fixed token, or access tokens that the machine's own key is traded for."""

from sse_agent.credentials.fixed import FixedToken
from sse_agent.credentials.key import MachineKey
from sse_agent.credentials.succession import Succession
from sse_agent.credentials.tokens import AccessTokens, Grant, KeyRefused, WrongTime

__all__ = ["AccessTokens", "FixedToken", "Grant", "KeyRefused", "MachineKey", "Succession", "WrongTime"]
