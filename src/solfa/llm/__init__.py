"""The one client of language models, what it may spend, and models on this machine."""

from solfa.llm.budget import BUDGET, Budget
from solfa.llm.client import Client, Endpoint, Messages, Usage, data_block, json_objects

__all__ = ["BUDGET", "Budget", "Client", "Endpoint", "Messages", "Usage", "data_block", "json_objects"]
