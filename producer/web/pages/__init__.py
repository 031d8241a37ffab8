"""The web pages, rendered on the server and usable without scripts."""

from producer.web.pages import ask, batches, handoffs, models, upload
from producer.web.pages.layout import page

__all__ = ["ask", "batches", "handoffs", "models", "page", "upload"]
