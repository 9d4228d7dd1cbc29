"""The one client of language models."""

from solfa.llm.client import Client, Endpoint, Messages, Usage, json_objects

__all__ = ["Client", "Endpoint", "Messages", "Usage", "json_objects"]
