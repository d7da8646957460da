"""A change that chat requests to one upstream model need, because the upstream has refused a request without it.

Only the value lives here: what is learned of an upstream is kept beside routing. The rules that derive an adaptation
from a refusal, and those that apply it to a request, are in `dialects/chat/request/fallbacks`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["drop_reasoning", "not_strict", "system_as_user"]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One change. `names` are fields, words or efforts and `limit` is a count, where the kind needs them.

    `lasting`: it holds for every request to the model. Others concern the content of one request only.
    """

    kind: Kind
    names: tuple[str, ...] = ()
    limit: int = 0
    lasting: bool = True
