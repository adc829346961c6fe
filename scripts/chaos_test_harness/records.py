"""The control plane over REST: commands go in, and what it recorded comes out."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from scripts.chaos_test_harness.judge import Ending, judge

PAGE = 1000
TWICE_EVERY = 20
FINAL = frozenset({"completed", "failed", "rejected"})
OVER = frozenset({"UPLOAD_COMPLETE", "UPLOAD_CANCELLED"})
MOVES = OVER | {"UPLOAD_PAUSED", "UPLOAD_RESUMED", "UPLOAD_FAILED"}
PRESENCE = frozenset({"CLIENT_CONNECTED", "CLIENT_DISCONNECTED"})
"""Said anew at each connection, in other messages with the same words."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Order:
    """One command, as it was given first. `expects`: how it may end; None: that follows from its upload's history."""

    command_id: str
    type: str
    payload: Mapping[str, Any]
    expects: frozenset[Ending] | None


class Records:
    """Commands are queued at the control plane, one in 20 twice; messages are read from there. For one thread."""

    def __init__(self, url: str, token: str, client_id: str) -> None:
        self.complaints: list[str] = []
        self.orders: dict[str, Order] = {}
        self.posts = 0
        self.messages: set[str] = set()
        self.accepted: set[str] = set()
        self.finals: dict[str, list[Message]] = defaultdict(list)
        self.replies: dict[str, list[Message]] = defaultdict(list)
        self.moves: dict[str, list[Message]] = defaultdict(list)
        self.over: set[str] = set()
        self.completions: list[Message] = []
        self._open: dict[str, None] = {}
        self._agent = f"/api/v1/agents/{client_id}"
        self._after = 0
        self._said: dict[tuple[str, str, str], str] = {}
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False)

    def close(self) -> None:
        """Its connections."""
        self._http.close()

    def complain(self, words: str) -> None:
        """The promise is broken. Each complaint counts once."""
        if words not in self.complaints:
            self.complaints.append(words)

    # --- down ---

    def give(self, order: Order, **more: str) -> None:
        """Queue it, or queue it again; a second time it is answered as the first."""
        answers = [self._post(order, order.type, **more)]
        if self.posts % TWICE_EVERY == 0:
            answers.append(self._post(order, order.type, **more))
        for answer in answers:
            if answer.status_code != 202:
                self.complain(f"{order.type} {order.command_id} was answered {answer.status_code} by REST")
        if len({answer.text for answer in answers}) > 1:
            self.complain(f"{order.type} {order.command_id} was queued twice")
        if order.command_id not in self.orders:
            self.orders[order.command_id] = order
            self._open[order.command_id] = None

    def give_another(self, order: Order) -> None:
        """Its ID with another body changes nothing and is refused."""
        answer = self._post(order, "GET_STATUS" if order.type != "GET_STATUS" else "HEARTBEAT")
        if answer.status_code != 422:
            self.complain(f"{order.command_id} with another body was answered {answer.status_code} by REST")

    def _post(self, order: Order, kind: str, **more: str) -> httpx.Response:
        self.posts += 1
        body = {"type": kind, "payload": order.payload, **more}
        return self._http.post(f"{self._agent}/commands", json=body, headers={"Idempotency-Key": order.command_id})

    def unanswered(self) -> list[str]:
        """Commands without a final ACK, oldest first."""
        return list(self._open)

    # --- up ---

    def read(self) -> int:
        """What was recorded since the last time. Returns how many messages that were."""
        count, page = 0, PAGE
        while page == PAGE:
            found = self._get(f"{self._agent}/messages", after=self._after, limit=PAGE)["messages"]
            for record in found:
                self._after = record["n"]
                self._take(record["message"])
            page = len(found)
            count += page
        return count

    def _get(self, path: str, **params: Any) -> Any:
        return self._http.get(path, params=params).raise_for_status().json()

    def _take(self, message: Message) -> None:
        kind, payload, cause = message["type"], message["payload"], message.get("inReplyTo", "")
        before = self._said.setdefault((kind, cause, json.dumps(payload, sort_keys=True)), message["id"])
        if message["id"] in self.messages:
            self.complain(f"recorded twice: {kind} {message['id']}")
        elif kind not in PRESENCE and before != message["id"]:
            self.complain(f"recorded twice: {kind} for {cause} under two message IDs")
        if not self.messages and kind != "CLIENT_CONNECTED":
            self.complain(f"the first message was {kind}, not CLIENT_CONNECTED")
        self.messages.add(message["id"])
        if kind == "ACK":
            self._take_ack(message, payload["commandId"], payload["status"])
        elif kind in MOVES:
            self._take_move(message, payload["fileId"])
        elif kind not in PRESENCE:
            self.replies[cause].append(message)

    def _take_ack(self, ack: Message, command_id: str, status: str) -> None:
        if status in FINAL:
            self.finals[command_id].append(ack)
            self._open.pop(command_id, None)
            return
        if command_id in self.finals:
            self.complain(f"out of order: {command_id} was accepted after it was over")
        if command_id in self.accepted:
            self.complain(f"carried out twice: {command_id} was accepted twice")
        self.accepted.add(command_id)

    def _take_move(self, move: Message, file_id: str) -> None:
        self.moves[file_id].append(move)
        if move["type"] in OVER:
            self.over.add(file_id)
        if move["type"] == "UPLOAD_COMPLETE":
            self.completions.append(move)

    # --- the verdict ---

    def verdict(self, names: list[str]) -> list[str]:
        """Every complaint: of the judge, and where the control plane's own view is another one."""
        return [*judge(self, names), *self._commands(), *self._uploads()]

    def _commands(self) -> list[str]:
        complaints = []
        for order in self.orders.values():
            record = self._get(f"/api/v1/commands/{order.command_id}")
            finals = {ack["payload"]["status"] for ack in self.finals.get(order.command_id, [])} or {None}
            if record["outcome"] not in finals:
                complaints.append(f"{order.type} {order.command_id} is {record['outcome']} there, not {finals}")
            replies = sum(message["type"] != "ACK" and message["type"] not in MOVES for message in record["replies"])
            if replies != len(self.replies.get(order.command_id, [])):
                complaints.append(f"{order.type} {order.command_id} has {replies} replies there")
        return complaints

    def _uploads(self) -> list[str]:
        states: dict[str, str] = {}
        page, after = PAGE, ""
        while page == PAGE:
            found = self._get(f"{self._agent}/uploads", after=after, limit=PAGE)["uploads"]
            states |= {upload["fileId"]: upload["state"] for upload in found}
            page, after = len(found), found[-1]["fileId"] if found else ""
        wanted = {"UPLOAD_COMPLETE": "complete", "UPLOAD_CANCELLED": "cancelled"}
        ends = {file_id: wanted.get(moves[-1]["type"]) for file_id, moves in self.moves.items()}
        return [
            f"{file_id} is {states.get(file_id)} on the control plane, but was reported {end}"
            for file_id, end in ends.items()
            if end is not None and states.get(file_id) != end
        ]

    def endings(self) -> Counter[str]:
        """How many uploads ended in which way."""
        return Counter(moves[-1]["type"] for moves in self.moves.values())
