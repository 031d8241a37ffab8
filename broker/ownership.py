"""The mark in Redis that states which database's workers use it.

Workers of two databases on one Redis would take each other's messages. The mark is one key
with an expiry: every sweep renews it, and a stack that has stopped loses it within 2 minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.celery_config import KEY_PREFIX
from broker.lanes import plain_client
from core.errors import BrokerInUse
from core.settings.settings import Settings
from core.settings.urls import redact

if TYPE_CHECKING:
    from celery import Celery

_OWNER_KEY = f"{KEY_PREFIX}stack"

# Seconds until the mark expires without renewal; higher: a stopped stack keeps Redis longer.
_OWNER_SECONDS = 120


def broker_owner(app: Celery, settings: Settings) -> str | None:
    """Return the identity of the database whose workers use Redis, or None.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    with plain_client(app, settings) as client:
        owner = client.get(_OWNER_KEY)
    return owner.decode() if isinstance(owner, bytes) else None


def claim_broker(app: Celery, settings: Settings, identity: str) -> None:
    """Mark Redis as used by the workers of the database, or renew that mark.

    Raises:
        BrokerUnavailable: Redis does not answer.
        BrokerInUse: workers of another database use it.
    """
    with plain_client(app, settings) as client:
        if client.set(_OWNER_KEY, identity, nx=True, ex=_OWNER_SECONDS):
            return
        owner = client.get(_OWNER_KEY)
        if isinstance(owner, bytes) and owner.decode() != identity:
            raise BrokerInUse(redact(settings.broker))
        client.expire(_OWNER_KEY, _OWNER_SECONDS)
