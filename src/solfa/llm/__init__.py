"""The one client of language models, what it may spend, and models on this machine."""

from solfa.llm.budget import BUDGET, Budget
from solfa.llm.client import Endpoint, Messages, ModelClient, Usage, data_block, json_objects

__all__ = ["BUDGET", "Budget", "Endpoint", "Messages", "ModelClient", "Usage", "data_block", "json_objects"]
