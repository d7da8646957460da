"""The table of simulated servers, with the names that select them."""

from collections.abc import Mapping
from typing import Final

from gateway.simulator.vendors import hosts, makers, open_models
from gateway.simulator.vendors.row import SimulatedVendor

ROWS: Final = (
    makers.OPENAI,
    makers.AZURE,
    makers.GEMINI,
    makers.MISTRAL,
    open_models.DEEPSEEK,
    makers.XAI,
    hosts.GROQ,
    hosts.TOGETHER,
    hosts.FIREWORKS,
    hosts.CEREBRAS,
    open_models.MOONSHOT,
    open_models.ZHIPU,
    open_models.QWEN,
    open_models.MINIMAX,
    hosts.BEDROCK,
    hosts.OLLAMA,
    hosts.LM_STUDIO,
)
# All of them, each under its name (`gemini/gemini-3-flash`), beside OpenRouter.
ALL: Final = "all"
VENDOR_ROWS: Final[Mapping[str, SimulatedVendor]] = {row.name: row for row in ROWS}
# Each name by which a server can be asked for, and that of its row.
SIMULATED_NAMES: Final[Mapping[str, str]] = {name: row.name for row in ROWS for name in (row.name, *row.aliases)}
