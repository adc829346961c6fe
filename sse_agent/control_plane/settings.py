"""What whoever runs a control plane decides. Read from the environment, once, at start."""

import ipaddress
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from sse_agent.errors import CannotStart, ExitCode
from sse_agent.messages import Name

PREFIX = "SSE_AGENT_CONTROL_PLANE_"
_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")
"""Nothing that a proxy or a browser writes in another way."""
SERVICE = "service"
"""The name of the service whose token has none."""
_HELP = "Every setting is explained in docs/reference/control-plane.md."


class Settings(BaseSettings):
    """Frozen; handed out piece by piece by server.py."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field(default="127.0.0.1", description="The address to listen on. Other than loopback only with TLS.")
    port: int = Field(default=8787, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    database: Path = Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("sse-agent-control-plane")) / "control-plane.db",
        description="The SQLite file that everything durable is in.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        description="The Redis that everything durable is in, instead of SQLite: redis://, rediss:// or unix://. "
        "Several control planes may share it.",
    )
    agent_tokens: dict[Name, SecretStr] = Field(
        default_factory=dict, description='The agents and their bearer tokens: {"agent-1": "…"}.'
    )
    service_token: SecretStr = Field(description="The bearer token of the services and pages that command agents.")
    service_tokens: dict[Name, SecretStr] = Field(
        default_factory=dict, description='More services, or the next token of one, by name: {"laravel": "…"}.'
    )
    issuer: str | None = Field(
        default=None, description="The public URL, with its path if a proxy serves it under one; else where it listens."
    )
    tus_hook_secret: SecretStr | None = Field(
        default=None,
        description="The secret that tusd shows with its hooks. With it uploads get tokens, and no other is stored.",
    )
    upload_token_seconds: int = Field(
        default=86_400, ge=60, le=2_592_000, description="How long an upload token lasts; the agent renews it."
    )
    webhook_private_addresses: bool = Field(
        default=False, description="Webhooks may go to private addresses, this machine's own included, and over http."
    )
    heartbeat_seconds: int = Field(default=15, ge=1, le=60, description="The longest silence on a stream, in seconds.")
    queue_limit: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Commands that may wait for one agent; more are refused."
    )
    commands_per_second: float = Field(
        default=1000.0, gt=0, le=1_000_000, description="What one service may command in the long run; more is 429."
    )
    tls_certificate: Path | None = Field(default=None, description="PEM file: the certificate and its chain.")
    tls_key: Path | None = Field(default=None, description="PEM file: the certificate's key.")

    @model_validator(mode="after")
    def _tokens_are_tokens(self) -> "Settings":
        tokens = [self.service_token, *self.service_tokens.values(), *self.agent_tokens.values()]
        plain = [token.get_secret_value() for token in tokens]
        if not all(0 < len(token) <= 8192 and token.isascii() and token.isprintable() for token in plain):
            raise ValueError("a token is 1 to 8192 printable ASCII characters")
        if any(" " in token for token in plain):
            raise ValueError("a token has no spaces")
        if SERVICE in self.service_tokens:
            raise ValueError(f"{SERVICE} is the name of SERVICE_TOKEN: give the others another one")
        if len(set(plain)) != len(plain):
            raise ValueError("two agents, or an agent and the service, have the same token")
        return self

    @model_validator(mode="after")
    def _issuer_is_a_url(self) -> "Settings":
        if self.issuer is None:
            return self
        parts = urlsplit(self.issuer)
        if (
            parts.scheme not in ("https", "http")
            or not parts.hostname
            or self.issuer != f"{parts.scheme}://{parts.netloc}{parts.path}"
            or not _PATH.fullmatch(parts.path)
        ):
            raise ValueError("ISSUER is a URL without a slash at its end, such as https://control.example/agents")
        if parts.username is not None or not self.issuer.isascii() or not self.issuer.isprintable():
            raise ValueError("ISSUER is a URL without a user's name, in ASCII")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("ISSUER is https, unless it is loopback: agents send nothing else")
        return self

    @property
    def services(self) -> dict[str, str]:
        """Their tokens, by name."""
        named = {name: token.get_secret_value() for name, token in self.service_tokens.items()}
        return {**named, SERVICE: self.service_token.get_secret_value()}

    @model_validator(mode="after")
    def _plain_http_stays_here(self) -> "Settings":
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("TLS_CERTIFICATE and TLS_KEY come together")
        if self.tls_certificate is None and not _is_loopback(self.host):
            raise ValueError("HOST is not loopback: give TLS_CERTIFICATE and TLS_KEY, or put a TLS proxy in front")
        return self


def load() -> Settings:
    """From the environment. Raises CannotStart, exit code 78, naming each wrong setting; values are not repeated."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False, include_input=False, include_context=False):
            name = PREFIX + str(item["loc"][0]).upper() + ": " if item["loc"] else ""
            lines.append(name + _expected(item["type"], item["msg"]))
        message = "wrong settings:\n  " + "\n  ".join(lines) + f"\n{_HELP}"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    except (SettingsError, json.JSONDecodeError):
        message = (
            f"wrong settings:\n  {PREFIX}AGENT_TOKENS or {PREFIX}SERVICE_TOKENS: "
            f'expected a JSON object, such as {{"agent-1": "token"}}\n{_HELP}'
        )
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None


def _expected(kind: str, words: str) -> str:
    """In the agent's own words for its settings (config.py, which is not for this package)."""
    if kind == "missing":
        # One setting has no default: the service token.
        return "is missing; set it to a long random text, and give the same one to whatever commands the agents"
    if kind == "string_pattern_mismatch":
        return "expected names of 1 to 128 letters, digits and . _ ~ -"
    words = re.sub("^Input should be (?=greater|less)", "expected a number ", words.removeprefix("Value error, "))
    return words.replace("Input should be", "expected")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
