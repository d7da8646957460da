"""Settings from variables and a file, checked at start.

`settings` has the fields, `values` their types and rules, and `load` reads them. `sections` and the other `*_sections`
are the tables of gateway.toml.
"""

from gateway.settings.config_file import read_config_file
from gateway.settings.load import (
    Need,
    Problem,
    is_loopback,
    load_settings,
    needs_client_keys,
    needs_own_keys,
    needs_redis,
    needs_redis_for_budgets,
    needs_upstream,
)
from gateway.settings.secrets import passwords_in, private_hosts_of, secrets_of
from gateway.settings.settings import Settings, names_of, unknown_variables
from gateway.settings.values import SettingsError

__all__ = [
    "Need",
    "Problem",
    "Settings",
    "SettingsError",
    "is_loopback",
    "load_settings",
    "names_of",
    "needs_client_keys",
    "needs_own_keys",
    "needs_redis",
    "needs_redis_for_budgets",
    "needs_upstream",
    "passwords_in",
    "private_hosts_of",
    "read_config_file",
    "secrets_of",
    "unknown_variables",
]
