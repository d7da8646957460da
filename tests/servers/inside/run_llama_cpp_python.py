"""Run llama-cpp-python's own server on shared libraries in a folder, the first argument."""

import ctypes
import runpy
import sys

folder = sys.argv.pop(1)
ctypes.CDLL(f"{folder}/libggml.so").ggml_backend_load_all_from_path(folder.encode())
runpy.run_module("llama_cpp.server", run_name="__main__")
