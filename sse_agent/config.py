"""Settings: one definition for environment, `.env`, TOML file and flags. The only reader of the environment."""

import difflib
import json
import os
import re
import stat
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin
from urllib.parse import urlsplit

import platformdirs
from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError

from sse_agent import identity
from sse_agent.errors import CannotStart, ExitCode
from sse_agent.identity import Identity
from sse_agent.messages import CommandType, Name

S = TypeVar("S", bound=BaseSettings)

PREFIX = "SSE_AGENT_"
SETTINGS_FILE = f"{PREFIX}SETTINGS_FILE"
THEIRS = f"{PREFIX}CONTROL_PLANE_"
"""What begins so and is no setting of the agent is one of the control plane's."""
UNKNOWN_TOLD, UNKNOWN_LENGTH = 20, 64
SECRETS = ("token", "tus_token")
JOURNAL = "journal.db"
OWN = {JOURNAL, identity.IDENTITY, identity.NEXT, "key.json", "key-next.json"}
"""Whoever has one of them in a folder has used it as a state directory."""
_EXPECTED_LIST = 'expected a JSON list, such as ["/srv/outgoing", "/srv/scans"]'
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def _checked_url(text: str) -> str:
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected a URL of visible ASCII characters")
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if "://" not in text:
        raise ValueError("expected a URL with https:// in front, such as https://example.com/path")
    if not is_url:
        raise ValueError("expected a URL such as https://example.com/path")
    if parts.username or parts.password or parts.fragment:
        raise ValueError("expected a URL without user name, password or #fragment")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ValueError(
            "expected https: over plain http everybody on the way can read the token and the files; "
            "http is accepted to this machine itself only (localhost, 127.0.0.1, ::1)"
        )
    return text.rstrip("/") if parts.path == "/" else text


def _without_query(text: str) -> str:
    if "?" in text:
        raise ValueError("expected a URL without a query")
    return text


def _visible(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise ValueError("expected visible ASCII characters, without spaces and line ends")
    return secret


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("expected absolute paths")
    return path


def _of_one_kind(names: list[str]) -> list[str]:
    known = list(CommandType)
    if any(name.removeprefix("-") not in known for name in names):
        raise ValueError(f"expected a JSON list of {', '.join(known)}")
    if len({name.startswith("-") for name in names}) > 1:
        raise ValueError("expected either what is carried out, or, each with a minus before it, what is refused")
    return names


def with_scheme(text: str) -> str | None:
    """The URL that somebody may mean who typed none in front of a host; None if it has one, or would be none anyhow."""
    if not text or "://" in text:
        return None
    try:
        scheme = "http" if urlsplit(f"//{text}").hostname in _LOOPBACK else "https"
        return _checked_url(f"{scheme}://{text}")
    except ValueError:
        return None


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, default ports left out: `https://example.com`. Raises ValueError."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, default) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


Url = Annotated[str, AfterValidator(_checked_url)]
# Anything else can't be sent in a header; a line end from a file read by a shell is the usual mistake.
Token = Annotated[SecretStr, AfterValidator(_visible)]


StateDir = Annotated[
    Path,
    Field(
        default_factory=lambda: Path(platformdirs.user_state_dir("sse-agent")),
        description="Where the journal lives, made with mode 0700. Default: the platform's state folder.",
    ),
]


class Settings(BaseSettings):
    """What an operator decides. Frozen; read once at start; handed out piece by piece by agent.py."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    control_plane_url: Annotated[Url, AfterValidator(_without_query)] = Field(
        description="The control plane's address, such as https://control.example.com."
    )
    client_id: Name = Field(
        description="This agent's ID: 1 to 128 letters, digits and . _ ~ -; never reused for another."
    )
    # Required, but for machines that are enrolled: `load` fills it in.
    token: Token | None = Field(
        description="The bearer token for the control plane. Never a flag: others could read it. An agent that was "
        "enrolled (sse-agent enroll) needs none: it has a key. If there is one, it counts more than the key."
    )
    state_dir: StateDir
    allowed_folders: list[Annotated[Path, AfterValidator(_absolute)]] = Field(
        min_length=1, description='The only folders that files are read from, as a JSON list: ["/srv/outgoing"].'
    )
    tus_endpoint: Url | None = Field(default=None, description="The tus server, for commands that name none.")
    tus_token: Token | None = Field(
        default=None, description="The bearer token for the endpoint above, for commands that bring none."
    )
    upload_origins: list[Url] = Field(
        default_factory=list,
        description="Origins that commands may name as tus servers, as a JSON list. Default: the endpoint's own.",
    )
    commands: Annotated[list[str], AfterValidator(_of_one_kind)] = Field(
        default_factory=list,
        description="The only commands that are carried out, as a JSON list; or those that are switched off, each with"
        ' a minus before it: ["-LIST_FILES", "-MESSAGE"]. Default: all are carried out.',
    )
    max_concurrent_uploads: int = Field(default=4, ge=1, le=64, description="Uploads under way at the same time.")
    no_progress_hours: float = Field(
        default=24.0,
        gt=0,
        le=24 * 365,
        description="An upload without progress for so many hours fails (NO_PROGRESS); it is retryable.",
    )
    ca_file: Path | None = Field(
        default=None, description="A PEM file of certificates to trust beside the system's, for TLS inspection."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="How a headless agent writes its log: json or text."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged: debug, info, warning or error."
    )

    @property
    def origin(self) -> str:
        """The control plane's origin, which the journal is bound to."""
        return origin_of(self.control_plane_url)

    @property
    def allowed_commands(self) -> frozenset[CommandType]:
        """What is carried out; no command can widen it."""
        named = frozenset(CommandType(name.removeprefix("-")) for name in self.commands)
        are_refused = not self.commands or self.commands[0].startswith("-")
        return frozenset(CommandType) - named if are_refused else named

    @property
    def origins(self) -> frozenset[str]:
        """Where uploads may go: what is listed, and the default endpoint's own origin always."""
        named = [*self.upload_origins, *([self.tus_endpoint] if self.tus_endpoint else [])]
        return frozenset(origin_of(url) for url in named)


class Joining(BaseSettings):
    """What can be known before a machine is enrolled."""

    model_config = Settings.model_config

    control_plane_url: Annotated[Url, AfterValidator(_without_query)] | None = None
    client_id: Name | None = None
    token: Token | None = None
    state_dir: StateDir
    ca_file: Path | None = None


class Place(BaseSettings):
    """Which agent is meant, for whoever only looks at one."""

    model_config = Settings.model_config

    state_dir: StateDir


def load(flags: Mapping[str, str], settings_file: Path | None = None, directory: Path | None = None) -> Settings:
    """Flags over environment over `.env` (in `directory`, the present one by default) over the settings file.

    `flags` maps a field's name to its text. Raises CannotStart, exit code 78, naming each wrong setting and what was
    expected of it.
    """
    env_file, toml_file = _settings_files(settings_file, directory)
    env_read, toml_read = (_read_or_skip(path) or Path(os.devnull) for path in (env_file, toml_file))
    enrolled = identity.read(_loaded(Place, flags, env_read, toml_read).state_dir)
    try:
        settings = _loaded(Settings, flags, env_read, toml_read, of_enrolment(enrolled))
    except CannotStart as wrong:
        # What is missing may be there under a name that is none.
        also = unknown([path for path in (env_file, toml_file) if is_there(path)])
        raise CannotStart("\n".join([str(wrong), *map(str, also)]), wrong.exit_code) from None
    if enrolled is not None and settings.token is None:
        _refuse_another(enrolled, settings)
    own = {
        "state directory": settings.state_dir,
        "settings file": toml_file,
        ".env": env_file,
        "CA file": settings.ca_file,
    }
    for what, path in own.items():
        # What this user may not even look for is not read either: that is told where it is needed.
        if path is not None and (what == "state directory" or os.access(path, os.F_OK)):
            refuse_exposed(what, path, settings.allowed_folders)
    return settings


def of_enrolment(enrolled: Identity | None) -> dict[str, Any]:
    """What an enrolled machine need not be told; whatever else says it counts more."""
    if enrolled is None:
        return {}
    return {"control_plane_url": enrolled.control_plane_url, "client_id": enrolled.client_id, "token": None}


def _refuse_another(enrolled: Identity, settings: Settings) -> None:
    """A key is of use to one agent at one control plane alone. Raises CannotStart, 78."""
    said = (
        ("CONTROL_PLANE_URL", settings.control_plane_url, origin_of(enrolled.control_plane_url) == settings.origin),
        ("CLIENT_ID", settings.client_id, enrolled.client_id == settings.client_id),
    )
    for name, value, fits in said:
        if not fits:
            message = (
                f"this machine is enrolled as {enrolled.client_id} at {enrolled.control_plane_url}, but "
                f"{PREFIX}{name} says {value}; leave that setting out, or enrol anew: sse-agent enroll --again"
            )
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def load_joining(flags: Mapping[str, str], settings_file: Path | None = None) -> Joining:
    """What is set so far, whatever else is missing. Raises CannotStart."""
    return _loaded(Joining, flags, *_settings_files(settings_file, None))


def load_state_dir(flags: Mapping[str, str], settings_file: Path | None = None) -> Path:
    """The state directory alone, whatever else is missing or wrong. Raises CannotStart."""
    return _loaded(Place, flags, *_settings_files(settings_file, None)).state_dir


def settings_file_place(named: Path | None = None) -> Path:
    """Where `run` looks for the TOML file; `named` by a flag. It need not be there."""
    return named or _named_settings_file() or Path(platformdirs.user_config_dir("sse-agent")) / "settings.toml"


def settings_files(named: Path | None = None) -> list[Path]:
    """The `.env` and TOML files that are there, the one that counts more first. Some may not be `trusted`."""
    return [path for path in _settings_files(named, None) if is_there(path)]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name that is no setting, where it stands, and the setting that may be meant, or "". As text: a sentence."""

    name: str
    place: str
    meant: str

    def __str__(self) -> str:
        return f"{self.found}; did you mean {self.meant}?" if self.meant else self.found

    @property
    def found(self) -> str:
        """Without what may be meant."""
        return f"{self.name} in {self.place} is no setting"


def unknown(files: Iterable[Path]) -> list[Unknown]:
    """What looks like a setting and is none, in the environment and in these settings files. Never raises.

    Of variables those that begin as ours do: others are other programs', or the control plane's. By their names alone.
    """
    found = _unknown_variables(os.environ, "the environment")
    for path in files:
        # Whatever can't be read is told where it is needed.
        with suppress(OSError, ValueError):
            if not trusted(path):
                continue
            if path.name == ".env":
                found += _unknown_variables(dotenv_values(path, interpolate=False), str(path))
            else:
                keys = tomllib.loads(path.read_text("utf-8"))
                found += [_unknown(key, str(path), prefix="") for key in keys if key not in Settings.model_fields]
    return found[:UNKNOWN_TOLD]


def _unknown_variables(variables: Mapping[str, str | None], place: str) -> list[Unknown]:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {SETTINGS_FILE}
    ours = {name.upper() for name, value in variables.items() if value and name.upper().startswith(PREFIX)}
    return [_unknown(name, place) for name in sorted(ours - known) if not name.startswith(THEIRS)]


def _unknown(name: str, place: str, prefix: str = PREFIX) -> Unknown:
    """`prefix`: what a setting's name begins with in that place, where it then is in capitals."""
    plain = name.lower().replace("-", "_").removeprefix(PREFIX.lower())
    near = difflib.get_close_matches(plain[:UNKNOWN_LENGTH], Settings.model_fields, 1, 0.75)
    meant = (prefix + near[0].upper() if prefix else near[0]) if near else ""
    shown = name if name.isprintable() else ascii(name)
    return Unknown(shown[:UNKNOWN_LENGTH], place, meant)


def parse(name: str, text: str) -> Any:
    """One setting's value, as a flag or a variable would give it. Raises ValueError, in words for a person."""
    field = Settings.model_fields[name]
    kind: Any = Annotated[field.annotation, Field(), *field.metadata]
    value: Any = text
    if get_origin(field.annotation) is list:
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError(_EXPECTED_LIST) from None
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(
            _expected(error.errors(include_url=False, include_input=False, include_context=False)[0])
        ) from None


def _settings_files(named: Path | None, directory: Path | None) -> tuple[Path, Path]:
    """Where `.env` and the TOML file are, if they are."""
    named = named or _named_settings_file()
    if named and not is_there(named):
        message = f"the settings file {named} is not there; `sse-agent init` writes one"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    return _env_file(directory), settings_file_place(named)


def _env_file(directory: Path | None) -> Path:
    """There is none for a user who may not enter the folder, or whose present folder is gone: nobody named it."""
    try:
        path = (directory or Path.cwd()) / ".env"
        path.stat()
    except OSError:
        return Path(os.devnull)
    return path


def is_there(path: Path) -> bool:
    """Whether a settings file is there, as a file. Raises CannotStart, 77, where this user may not even look."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path | str, error: OSError) -> CannotStart:
    why = (error.strerror or "its disk fails").lower()
    message = f"the settings file {path} can't be read: {why}; let the agent's user read it"
    return CannotStart(message, ExitCode.NOT_PERMITTED)


def _loaded(
    model: type[S], flags: Mapping[str, str], env_file: Path, toml_file: Path, last: Mapping[str, Any] | None = None
) -> S:
    """`last` are the values that count least."""
    try:
        return _with_sources(model, flags, env_file, toml_file)(**(last or {}))
    except ValidationError as error:
        raise CannotStart(explain(error, flags=flags), ExitCode.WRONG_CONFIGURATION) from None
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = called(field[1], flags) if field else "a setting"
        raise CannotStart(f"wrong settings:\n  {name}: {_EXPECTED_LIST}", ExitCode.WRONG_CONFIGURATION) from None
    except tomllib.TOMLDecodeError as error:
        raise CannotStart(f"the settings file {toml_file} is no TOML: {error}", ExitCode.WRONG_CONFIGURATION) from None
    except UnicodeDecodeError:
        message = f"{_not_utf8(env_file, toml_file)} is not UTF-8, as settings files must be; save it as that"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
    except OSError as error:
        raise _unreadable(error.filename, error) from None


def _not_utf8(*paths: Path) -> Path:
    for path in paths:
        try:
            path.read_text("utf-8")
        except UnicodeDecodeError:
            break
        except OSError:
            continue
    return path


def called(name: str, flags: Iterable[str] = ()) -> str:
    """What people call a setting: by its flag if it came as one, else by its name in the environment."""
    return f"--{name.replace('_', '-')}" if name in flags else PREFIX + name.upper()


def explain(error: ValidationError, prefix: str = PREFIX, flags: Iterable[str] = ()) -> str:
    """One line for each wrong setting, by the name that was used. Values are not repeated: some are secret."""
    lines = []
    found = error.errors(include_url=False, include_input=False, include_context=False)
    for item in found:
        field = str(item["loc"][0]) if item["loc"] else ""
        name = called(field, flags) if prefix == PREFIX else prefix + field.upper()
        lines.append(f"{name}: {_expected(item)}" if field else _expected(item))
    help_ = "Every setting is explained in docs/reference/settings.md."
    if prefix == PREFIX and any(item["type"] == "missing" for item in found):
        help_ = "`sse-agent init` asks for what must be set, and writes it into a settings file.\n" + help_
    if prefix == PREFIX and any(item["loc"] == ("token",) and item["type"] == "missing" for item in found):
        help_ = "`sse-agent enroll` makes a key in the token's place, with a code from the control plane.\n" + help_
    return "wrong settings:\n  " + "\n  ".join(lines) + "\n" + help_


def _expected(item: Any) -> str:
    """In words for people; most of pydantic's own are."""
    if item["type"] == "missing":
        return "is missing"
    if item["type"] == "string_pattern_mismatch":
        return "expected 1 to 128 letters, digits and . _ ~ -"
    if item["type"] == "too_short":
        return "expected a list of at least 1"
    if item["type"].startswith("list_"):
        return _EXPECTED_LIST
    if item["type"].startswith("int_"):
        return "expected a whole number"
    if item["type"].startswith("float_"):
        return "expected a number"
    words = str(item["msg"]).removeprefix("Value error, ")
    words = re.sub("^Input should be (?=greater|less)", "expected a number ", words)
    return words.replace("Input should be", "expected")


def trusted(path: Path) -> bool:
    """Whether a settings file may be read: it is there, and nobody else on this machine can have written it."""
    try:
        status = path.stat()
    except OSError:
        return False
    if os.name != "posix":
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _named_settings_file() -> Path | None:
    named = os.environ.get(SETTINGS_FILE)
    return Path(named) if named else None


class _Flags(EnvSettingsSource):
    """Flags are read just as the variables of the same name would be."""

    def __init__(self, settings_cls: type[BaseSettings], flags: Mapping[str, str]) -> None:
        self._flags = {(PREFIX + name).lower(): value for name, value in flags.items()}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._flags


def _with_sources(model: type[S], flags: Mapping[str, str], env_file: Path, toml_file: Path) -> type[S]:
    class Loaded(model):  # type: ignore[misc, valid-type]
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                _Flags(settings_cls, flags),
                EnvSettingsSource(settings_cls),
                DotEnvSettingsSource(settings_cls, env_file=_read_or_skip(env_file)),
                TomlConfigSettingsSource(settings_cls, _read_or_skip(toml_file) or Path(os.devnull)),
                init_settings,
            )

    return Loaded


def _read_or_skip(path: Path) -> Path | None:
    if not is_there(path):
        return None
    if not trusted(path):
        print(  # noqa: T201 - before there is a log
            f"sse-agent: {path} is not read: others can write it (chmod go-w {path.name}, and let it be yours)",
            file=sys.stderr,
        )
        return None
    return path


def refuse_exposed(what: str, path: Path, folders: Iterable[Path]) -> None:
    """Whoever can name files in the allowed folders must not be able to name the agent's own. Raises CannotStart, 78.

    `what` is what people call the file at `path`, which need not be there yet.
    """
    for folder in folders:
        try:
            is_exposed = _is_inside(path, folder)
        except FileNotFoundError:
            message = f"the {what} {path} can't be looked for: the present folder is gone; begin in one that is there"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
        if is_exposed:
            message = f"the {what} {path} lies inside the allowed folder {folder}; move one of the two"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def _is_inside(path: Path, folder: Path) -> bool:
    """By what the names lead to: links, mounts and letter case make one place of two names."""
    resolved = path.resolve()
    if resolved.is_relative_to(folder.resolve()):
        return True
    with suppress(OSError):
        return any(part.exists() and part.samefile(folder) for part in (resolved, *resolved.parents))
    return False


def is_of_others(state_dir: Path) -> bool:
    """Whether it is a /tmp or a home that somebody named by mistake: shutting others out would lock them out."""
    names = {entry.name for entry in state_dir.iterdir()} - {"lost+found"}
    return bool(state_dir.stat().st_mode & stat.S_ISVTX) or (bool(names) and not names & OWN)


def make_state_dir(path: Path) -> None:
    """Make it, for its owner alone. Raises CannotStart: 77 if it can't be made so, 78 if it is somebody else's."""
    try:
        _make_lasting(path)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            _take_for_ourselves(path)
    except OSError as error:
        why = "it is no folder" if isinstance(error, FileExistsError) else (error.strerror or "its disk fails").lower()
        message = f"the state directory {path} can't be used: {why}; see SSE_AGENT_STATE_DIR"
        raise CannotStart(message, ExitCode.NOT_PERMITTED) from None
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        message = (
            f"the state directory {path} can't be used: the agent's user may not write there; see SSE_AGENT_STATE_DIR"
        )
        raise CannotStart(message, ExitCode.NOT_PERMITTED)


def _make_lasting(path: Path) -> None:
    """mkdir -p, 0700, that survives a power cut: a new folder is on the disk once its parent is (fsync(2))."""
    if path.is_dir():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":
        for folder in (path.parent, path.parent.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _take_for_ourselves(path: Path) -> None:
    """Shut others out, but never out of a /tmp or a home that somebody named by mistake."""
    if is_of_others(path):
        message = (
            f"the state directory {path} holds files of others, and must be open to nobody else; "
            "name an empty one or a new one (SSE_AGENT_STATE_DIR)"
        )
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)
    path.chmod(0o700)


def proxies() -> Mapping[str, str]:
    """The environment's proxies by scheme (`http`, `https`, `all`), and `no` for the list of exceptions."""
    return urllib.request.getproxies()


def environment(name: str) -> str | None:
    """One variable of the environment that belongs to no setting (`NOTIFY_SOCKET`, say)."""
    return os.environ.get(name)
