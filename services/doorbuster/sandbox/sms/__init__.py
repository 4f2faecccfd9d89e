"""An SMS provider with the Messages part of Twilio's API, with faults to switch on."""

from .app import build

__all__ = ["build"]
