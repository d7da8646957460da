"""Stand-ins for GPU kernels and torchvision, which SGLang imports and a text model on the CPU never calls."""

import importlib.abc
import importlib.machinery
import sys
import types
from unittest.mock import MagicMock

STUBBED = ("torchvision", "sgl_kernel")


class StubModule(types.ModuleType):
    __version__ = "0.0"
    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        value = MagicMock(name=f"{self.__name__}.{name}")
        setattr(self, name, value)
        return value


class StubLoader(importlib.abc.Loader):
    def create_module(self, spec):
        return StubModule(spec.name)

    def exec_module(self, module):
        pass


class StubFinder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in STUBBED:
            return importlib.machinery.ModuleSpec(name, StubLoader(), is_package=True)
        return None


sys.meta_path.append(StubFinder())
