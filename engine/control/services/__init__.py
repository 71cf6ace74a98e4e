"""Services: the names that clients send as `model`, and what people ask of them.

    lifecycle the verbs create, promote, freeze, unfreeze and remove
    splits    the verbs split and undo
    settings  the verb set

Decides by what the store holds; the gateway and the node act on the split that is set. Imported by
`engine.control`.
"""

from engine.control.services import lifecycle as lifecycle
from engine.control.services import settings as settings
from engine.control.services import splits as splits
