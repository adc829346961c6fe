"""What `enroll` does: asks for the code, shows the control plane the key, waits until a person has said yes."""

import argparse
import json
import platform
import random
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from sse_agent import config, enrolment, identity
from sse_agent.checks import journal
from sse_agent.cli import settings_edit, settings_file
from sse_agent.cli.answers import read_secret, typed, with_scheme
from sse_agent.cli.arguments import given
from sse_agent.cli.asking import from_agent
from sse_agent.cli.tables import print_words, shown_text
from sse_agent.clock import Clock, SystemClock
from sse_agent.config import Joining, origin_of
from sse_agent.credentials import AccessTokens, MachineKey, key, succession
from sse_agent.enrolment import Enrolled, NotEnrolled, Pending, Refused, Registry, Ticket
from sse_agent.errors import CannotStart, ExitCode, Parked, TryAgain
from sse_agent.identity import Identity
from sse_agent.retry import NOT_NOW
from sse_agent.transport import trust

CONFIRMED_WITHIN_S = 600.0
ASKED_EVERY_S = (2.0, 4.0)
TYPED_AT_MOST = 3

Enrol = Callable[[Ticket], tuple[Enrolled, MachineKey]]
"""Shows the control plane the key that is returned. Raises Refused, CannotStart."""


def run(options: argparse.Namespace) -> int:
    """The exit code. Raises CannotStart."""
    joining = config.load_joining(given(options), options.settings_file)
    if options.rotate:
        return _rotate(joining.state_dir)
    known = _known(joining.state_dir, is_anew=options.again)
    clock = SystemClock()
    try:
        waiting = None if options.again else succession.waiting(joining.state_dir)
        if waiting is not None:
            _refuse_another_plane(waiting[0], joining)
            print(f"A new key waits to be confirmed, for {waiting[0].client_id}.")
            return _wait_beside(options, *waiting, joining, clock)
        if known is not None and not options.again:
            return _go_on(known, joining, clock)
        return _begin(options, joining, known, clock)
    except KeyboardInterrupt:
        print()
        raise CannotStart("not confirmed yet; `sse-agent enroll` goes on waiting", ExitCode.TRY_AGAIN) from None


def _begin(options: argparse.Namespace, joining: Joining, known: Identity | None, clock: Clock) -> int:
    url = joining.control_plane_url or (known.control_plane_url if known else None) or _asked_url()
    name = options.name or platform.node().partition(".")[0] or "agent"
    owner = journal.owner(joining.state_dir)
    if owner is not None:
        print(f"The journal here belongs to {shown_text(owner)}. To go on as that, take a code that was made for it.")

    def enrol(ticket: Ticket) -> tuple[Enrolled, MachineKey]:
        # Not before there is a code: whoever leaves until then leaves nothing behind.
        config.make_state_dir(joining.state_dir)
        own = key.to_enrol_with(joining.state_dir, is_anew=options.again)
        return anyio.run(_enrol, joining, url, clock, ticket, own, name), own

    enrolled, own = _by_file(options, enrol) or _by_typing(enrol)
    found = Identity(client_id=enrolled.client_id, issuer=enrolled.issuer, control_plane_url=url, key_id=own.key_id)
    if enrolled.status == "pending" and known is not None and _is_of_use(joining.state_dir, known):
        identity.write_next(joining.state_dir, found)
        print(
            f"Until {found.client_id}'s new key is confirmed this machine stays {known.client_id}, with the key it has."
        )
        return _wait_beside(options, found, own, joining, clock)
    _become(options, found, joining)
    return _wait(found, joining, own, clock)


def _become(options: argparse.Namespace, found: Identity, joining: Joining) -> None:
    owner = journal.owner(joining.state_dir)
    succession.take_over(joining.state_dir, found)
    print(f"This machine is enrolled as {found.client_id} at {found.control_plane_url}.")
    _settle_settings(config.settings_file_place(options.settings_file), found)
    _tell_what_hinders(options, found, owner)


def _wait_beside(options: argparse.Namespace, found: Identity, own: MachineKey, joining: Joining, clock: Clock) -> int:
    """What is in use stays until the new key is confirmed, whatever ends the waiting."""
    try:
        anyio.run(_until_confirmed, found, joining, own, clock)
    except CannotStart as over:
        if over.exit_code is not ExitCode.WRONG_CONFIGURATION:
            raise
        succession.give_up(joining.state_dir)
        raise CannotStart(f"{over}\nNothing was changed: the key in use stays.", over.exit_code) from None
    _become(options, found, joining)
    return _accepted()


def _is_of_use(state_dir: Path, known: Identity) -> bool:
    try:
        key.load(state_dir, known.key_id)
    except CannotStart:
        return False
    return True


def _known(state_dir: Path, *, is_anew: bool) -> Identity | None:
    """What this machine was enrolled as. What can't be used is no reason against enrolling anew."""
    try:
        return identity.read(state_dir)
    except CannotStart:
        if is_anew:
            return None
        raise


def _by_file(options: argparse.Namespace, enrol: Enrol) -> tuple[Enrolled, MachineKey] | None:
    """None if no file is named. Raises CannotStart."""
    file = options.code_file or options.token_file
    if file is None:
        return None
    judge = enrolment.code if options.code_file else enrolment.token
    try:
        return enrol(judge(read_secret(file)))
    except (Refused, ValueError) as refused:
        raise CannotStart(str(refused), ExitCode.WRONG_CONFIGURATION) from None


def _by_typing(enrol: Enrol) -> tuple[Enrolled, MachineKey]:
    """A person may mistype it. Raises CannotStart."""
    _refuse_without_terminal("the pairing code", "--code-file or --token-file FILE (- is standard input)")
    for _ in range(TYPED_AT_MOST):
        try:
            text = _typed("Pairing code, as the control plane shows it: ")
            if text is None:
                break
            return enrol(enrolment.code(text))
        except (Refused, ValueError) as refused:
            if isinstance(refused, Refused) and not refused.is_mistyped:
                raise CannotStart(str(refused), ExitCode.WRONG_CONFIGURATION) from None
            print_words(str(refused), "  ")
    raise CannotStart("without a pairing code nothing was changed", ExitCode.WRONG_CONFIGURATION)


def _asked_url() -> str:
    _refuse_without_terminal("the control plane's address", "--control-plane URL")
    while True:
        try:
            text = _typed("Control plane's URL: ", with_scheme)
            if text is None:
                raise CannotStart("nothing was changed", ExitCode.WRONG_CONFIGURATION)
            return str(config.parse("control_plane_url", text))
        except ValueError as wrong:
            print_words(str(wrong), "  ")


def _typed(prompt: str, meant: Callable[[str], str] = str) -> str | None:
    """None if the person leaves, by Ctrl-C too: nothing was begun yet. `meant` may ask once more."""
    try:
        return meant(typed(input, prompt))
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def _refuse_without_terminal(what: str, instead: str) -> None:
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        message = f"there is no terminal to ask for {what} on: {instead}"
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def _settle_settings(path: Path, found: Identity) -> None:
    """A settings file that names another agent, or a fixed token, would count more than the identity."""
    wanted = {"client_id": found.client_id, "control_plane_url": found.control_plane_url, "token": None}
    if not path.is_file():
        return
    try:
        before = path.read_text("utf-8")
        after = settings_edit.updated(before, wanted)
        kept = settings_file.write(path, after) if after != before else None
    except (OSError, ValueError, CannotStart):
        # As root's it may be closed to the agent's user. The identity is written by now: the rest must follow.
        print(f"Correct {shown_text(str(path))} by hand; take out token, and let it say:")
        print("".join(f"  {name} = {json.dumps(value)}\n" for name, value in wanted.items() if value), end="")
        return
    if kept is not None:
        print(f"{shown_text(str(path))} says so now; as it was, it is kept as {shown_text(str(kept))}.")


def _tell_what_hinders(options: argparse.Namespace, found: Identity, owner: str | None) -> None:
    """What else on this machine speaks of another agent."""
    still = config.load_joining({}, options.settings_file)
    if still.token is not None:
        print("Beware: SSE_AGENT_TOKEN is set, and counts more than the key. Take it out of the environment or .env.")
    said = {"CLIENT_ID": (still.client_id, found.client_id)}
    said["CONTROL_PLANE_URL"] = (still.control_plane_url, found.control_plane_url)
    for name, (value, wanted) in said.items():
        if value not in (None, wanted):
            print(f"Beware: SSE_AGENT_{name} says {value}. Take it out of the environment or .env.")
    if owner not in (None, found.client_id):
        print(
            f"Beware: the journal here belongs to {shown_text(owner or '')}, and what is in it is of use to that agent "
            "alone. Move journal.db* away, or name another state directory."
        )


def _go_on(known: Identity, joining: Joining, clock: Clock) -> int:
    """It was enrolled before: still to be confirmed, or done."""
    _refuse_another_plane(known, joining)
    print(f"This machine is enrolled already, as {known.client_id} at {known.control_plane_url}.")
    print("Nothing was changed. To enrol it anew, with a new key: sse-agent enroll --again", flush=True)
    return _wait(known, joining, key.load(joining.state_dir, known.key_id), clock)


def _refuse_another_plane(known: Identity, joining: Joining) -> None:
    url = joining.control_plane_url
    if url is not None and origin_of(url) != origin_of(known.control_plane_url):
        message = (
            f"this machine is enrolled as {known.client_id} at {known.control_plane_url}; for another control plane "
            "give it a state directory of its own (--state-dir), or leave that one: --again"
        )
        raise CannotStart(message, ExitCode.WRONG_CONFIGURATION)


def _rotate(state_dir: Path) -> int:
    """The agent that runs does it: it is the one whom the control plane listens to."""
    answer = from_agent(state_dir, b'{"do": "rotate-key"}\n')
    if answer is None:
        message = "no agent runs there whose key could be replaced: start it first"
        raise CannotStart(message, ExitCode.TRY_AGAIN)
    if not answer["ok"]:
        error = answer["error"]
        code = ExitCode.TRY_AGAIN if error["code"] == "TRY_AGAIN" else ExitCode.WRONG_CONFIGURATION
        raise CannotStart(f"the key was not replaced: {error['message']}", code)
    print(f"The machine has a new key, and the old one has ended. Its fingerprint: {answer['fingerprint']}")
    return int(ExitCode.STOPPED)


def _ask_for_confirmation(own: MachineKey) -> None:
    print(f"\nIts key's fingerprint:  {own.fingerprint}\n")
    print("Compare it with the one that the control plane shows, and say yes there.")
    print(f"Waiting for that, {CONFIRMED_WITHIN_S / 60:.0f} min at most; Ctrl-C ends the waiting alone.", flush=True)


# --- what the control plane is asked ---


async def _enrol(joining: Joining, url: str, clock: Clock, ticket: Ticket, own: MachineKey, name: str) -> Enrolled:
    async with Registry(url, trust(joining.ca_file), clock) as registry:
        try:
            enrolled = await registry.enrol(ticket, own, name)
        except TryAgain as trouble:
            message = f"{url} can't be asked now: {trouble.reason}; nothing is lost, enrol again"
            raise CannotStart(message, ExitCode.TRY_AGAIN) from None
        if registry.clock_words:
            print(f"Beware: {registry.clock_words}.")
        return enrolled


def _wait(found: Identity, joining: Joining, own: MachineKey, clock: Clock) -> int:
    """Until the first access token is there: then everything is in order."""
    anyio.run(_until_confirmed, found, joining, own, clock)
    return _accepted()


def _accepted() -> int:
    print("The control plane accepts its key. Next: sse-agent run")
    return int(ExitCode.STOPPED)


async def _until_confirmed(found: Identity, joining: Joining, own: MachineKey, clock: Clock) -> None:
    async with AsyncExitStack() as stack:
        registry = await stack.enter_async_context(Registry(found.control_plane_url, trust(joining.ca_file), clock))
        tokens = AccessTokens(own, registry.grant, clock, client_id=found.client_id, issuer=found.issuer)
        await confirmed(tokens, clock, on_pending=lambda: _ask_for_confirmation(own))


async def confirmed(tokens: AccessTokens, clock: Clock, *, on_pending: Callable[[], None] = lambda: None) -> None:
    """Ask until there is a token, for ten minutes at most. Raises CannotStart: 78 when it is refused, 75 in the end."""
    until, failures, is_told = clock.monotonic() + CONFIRMED_WITHIN_S, 0, False
    while True:
        try:
            await tokens.current()
        except Pending as pending:
            trouble: TryAgain = pending
            wait_s, failures = random.uniform(*ASKED_EVERY_S), 0  # noqa: S311 - nothing secret
            if not is_told:
                on_pending()
            is_told = True
        except NotEnrolled as refused:
            message = f"{refused.reason}. With a new code: sse-agent enroll --again"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
        except Parked as over:
            message = f"{over.reason}, for ever; enrol this machine as a new one: sse-agent enroll --again"
            raise CannotStart(message, ExitCode.WRONG_CONFIGURATION) from None
        except TryAgain as other:
            trouble, wait_s = other, NOT_NOW.wait_s(failures, at_least_s=other.retry_after_s)
            failures += 1
        else:
            return
        if clock.monotonic() + wait_s > until:
            message = (
                f"{trouble.reason}; not within {CONFIRMED_WITHIN_S / 60:.0f} min. `sse-agent enroll` goes on waiting"
            )
            raise CannotStart(message, ExitCode.TRY_AGAIN)
        await clock.sleep(wait_s)
