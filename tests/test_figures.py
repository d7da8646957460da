"""The figures that `make check` prints, on sources small enough to count by hand."""

from textwrap import dedent

from tests.support.architecture import Module
from tests.support.figures import one_caller_helpers, percentile, to_figures


def module_of(source: str) -> Module:
    return Module.of("gateway.ids", dedent(source))


def test_a_private_function_named_once_is_a_one_caller_helper() -> None:
    module = module_of(
        """
        def read(value): return _once(value) + _twice(_twice(value))
        def public(value): return value
        def _once(value): return value
        def _twice(value): return value
        def _never(value): return value
        class Reader:
            def __init__(self): self._method()
            def _method(self): self._callback = _listed
        TABLE = {"a": _listed}
        def _listed(value): return value
        """
    )
    assert one_caller_helpers(module) == ["_once", "_method"]


def test_functions_whose_lines_cannot_replace_their_only_call_are_no_one_caller_helpers() -> None:
    module = module_of(
        """
        async def read(values, group):
            group.create_task(_task(values))
            await _awaited(values)
            with _opened() as file:
                for line in _lines(file):
                    group.add(lambda: _late(line))
            number = _early(values)
            if number:
                return _tail(values)
            return [_each(value) for value in values if value] + _plain(values)
        async def _task(values): ...
        async def _awaited(values): ...
        @contextmanager
        def _opened(): ...
        def _lines(file): yield file
        def _late(line): ...
        def _each(value): ...
        def _early(values):
            if values: return 1
            return 0
        def _tail(values):
            if values: return 1
            return 0
        def _plain(values): ...
        """
    )
    assert one_caller_helpers(module) == ["_awaited", "_tail", "_plain"]


def test_methods_of_several_classes_or_with_a_parents_call_are_no_one_caller_helpers() -> None:
    module = module_of(
        """
        class Writer:
            def write(self, text): self._write_plain(text)
            def _write_plain(self, text): raise NotImplementedError
        class LineWriter(Writer):
            def _write_plain(self, text): print(text)
            async def _open(self): await super()._open()
        """
    )
    assert one_caller_helpers(module) == []


def test_figures_count_lengths_without_docstrings_and_comments_without_directives() -> None:
    module = module_of(
        """
        # a reason
        def one(): return 1  # behind code
        two = 2  # noqa: S101
        def three():
            '''Return three.'''
            # another
            return 3
        """
    )
    figures = to_figures([module])
    assert (figures.functions, figures.helpers) == (2, 0)
    assert (figures.median_lines, figures.p95_lines) == (1, 3)
    assert figures.comments == 100 * 3 / 8


def test_a_percentile_is_one_of_the_values() -> None:
    values = [5, 1, 4, 2, 3]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 3, 5, 5]
