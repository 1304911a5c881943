"""ISO 20022 settlement instructions, sese.023.001.11, and requests to cancel them, sese.020.001.07.

`MessageRenderer.render` takes an instruction by its function: NEW is a sese.023, CANCEL a sese.020.

`Sese023Renderer.render` turns a `SettlementInstruction` into the text of one message: the same instruction gives the
same bytes (no clock, no message id of its own), and nothing leaves that the schema would not accept. What cannot be
said validly raises `services.domain.errors.MessageInvalid`. `parse_sese023` reads a message
without knowing the renderer.

No business application header (head.001) is written: it carries a creation time and belongs to whoever sends it.
"""

from services.adapters.iso20022.messages import MessageRenderer
from services.adapters.iso20022.parse import Sese023, parse_sese023
from services.adapters.iso20022.render import Sese023Renderer, render_sese023

__all__ = ["MessageRenderer", "Sese023", "Sese023Renderer", "parse_sese023", "render_sese023"]
