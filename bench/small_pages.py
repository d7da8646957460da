"""The gateway without huge pages: `python -m bench.small_pages serve`. `dragoman serve` has them where Linux can."""

from gateway.__main__ import main
from gateway.process import gc_tuning

if __name__ == "__main__":
    gc_tuning.use_huge_pages = lambda: None
    main()
