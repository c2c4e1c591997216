"""An account in the local files: passwd, shadow, and its memberships in group and gshadow."""

from .kind import KIND as KIND
