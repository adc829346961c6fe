"""Machines with a key of their own, as the reference says: they sign, and put together what they send."""

import base64
import hashlib
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def new_key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def credential_sha256(credential: str) -> str:
    """Of a code without its dash, or of a token."""
    return base64.urlsafe_b64encode(hashlib.sha256(credential.encode()).digest()).rstrip(b"=").decode()


def sign(key: OKPKey, claims: Mapping[str, Any], alg: str = "Ed25519") -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode({"alg": alg}, dict(claims), key, algorithms=[alg])


@dataclass
class Machine:
    """One machine that wants to be an agent of the control plane `issuer`. Its clock is what `now` it is handed."""

    issuer: str
    key: OKPKey = field(default_factory=new_key)
    client_id: str = ""

    @property
    def jwk(self) -> dict[str, Any]:
        return {name: self.key.as_dict(private=False)[name] for name in ("kty", "crv", "x")}

    def claims(self, now: datetime, **more: Any) -> dict[str, Any]:
        """What is in everything that is signed."""
        return {"aud": self.issuer, "jti": uuid.uuid4().hex, "exp": int(now.timestamp()) + 55, **more}

    def application(self, now: datetime, *, code: str = "", token: str = "", **more: Any) -> dict[str, Any]:
        """The body of an enrolment; `more` replaces members."""
        meant = code.replace("-", "").upper() or token
        body: dict[str, Any] = {
            **({"code": code} if code else {"token": token}),
            "name": "Warehouse 7",
            "publicKey": self.jwk,
            "proof": sign(self.key, self.claims(now, credential_sha256=credential_sha256(meant))),
            "host": "wh7.example",
            "platform": "Linux 6.1",
            "version": "0.1.0",
        }
        return {**body, **more}

    def assertion(self, now: datetime, *, alg: str = "Ed25519", **more: Any) -> str:
        """`more` replaces claims."""
        claims = self.claims(now, iss=self.client_id, sub=self.client_id)
        return sign(self.key, {**claims, **more}, alg)

    def rotation(self, now: datetime, new: OKPKey, **more: Any) -> dict[str, Any]:
        """The body of a rotation; `more` replaces claims of both proofs."""
        claims = {**self.claims(now, iss=self.client_id, sub=self.client_id, jkt=new.thumbprint()), **more}
        jwk = {name: new.as_dict(private=False)[name] for name in ("kty", "crv", "x")}
        again = {**claims, "jti": uuid.uuid4().hex}
        return {"publicKey": jwk, "proof": sign(new, claims), "oldProof": sign(self.key, again)}


def grant_form(assertion: str) -> dict[str, str]:
    """The form of a token request."""
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
    }


def speaker_headers(token: str, **more: str) -> dict[str, str]:
    """Those of every request of an agent."""
    return {
        "Authorization": f"Bearer {token}",
        "Agent-Journal": "7f9c2ba4-e88f-4d6c-8d3c-2f0a1b2c3d4e",
        "Agent-Epoch": "1",
        "Agent-Instance": "7f9c2ba4-e88f-4d6c-8d3c-2f0a1b2c3d4f",
        **more,
    }
