"""Builders and fakes that ship with the services: the fakes pass the same contract tests as the real adapters."""
