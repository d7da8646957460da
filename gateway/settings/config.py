"""Content of gateway.toml besides settings."""

from dataclasses import dataclass, field

from gateway.settings.access_sections import AccessSections
from gateway.settings.config_file import ConfigFile
from gateway.settings.sections import Sections


@dataclass(frozen=True, slots=True)
class Config:
    """`warnings`: lines about what works, but probably not as meant."""

    file: ConfigFile = field(default_factory=ConfigFile, repr=False)
    sections: Sections = field(default_factory=Sections, repr=False)
    access: AccessSections = field(default_factory=AccessSections, repr=False)
    warnings: tuple[str, ...] = ()
