"""CAPTION broker.ownership."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.celery_config import _PREFIX
from broker.lanes import _plain_client
from core.errors import BrokerInUse
from core.settings.settings import Settings
from core.settings.urls import redact

if TYPE_CHECKING:
    from celery import Celery


# Whose workers use this Redis. Renewed by every sweep; a stack that is gone is soon forgotten.
_OWNER = f"{_PREFIX}stack"


_OWNED_SECONDS = 120


def broker_owner(app: Celery, settings: Settings) -> str | None:
    """Return the identity of the database whose workers use Redis; None: there are none.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    with _plain_client(app, settings) as client:
        found = client.get(_OWNER)
    return found.decode() if isinstance(found, bytes) else None


def claim_broker(app: Celery, settings: Settings, identity: str) -> None:
    """Say for a while that Redis belongs to the workers of a database.

    Raises:
        BrokerUnavailable: Redis does not answer.
        BrokerInUse: it belongs to those of another one.
    """
    with _plain_client(app, settings) as client:
        if client.set(_OWNER, identity, nx=True, ex=_OWNED_SECONDS):
            return
        found = client.get(_OWNER)
        if isinstance(found, bytes) and found.decode() != identity:
            raise BrokerInUse(redact(settings.broker))
        client.expire(_OWNER, _OWNED_SECONDS)
