"""CAPTION core.settings.model."""

from __future__ import annotations

import re

# file:// is a folder like any other, and needs no copies.
_STORE_URL = re.compile(r"(?!file://)[A-Za-z][A-Za-z0-9+.-]*(://|::)")
