"""The only room with SQL: one file, one writer, group commit, short reads."""

from prynt_relay.store.bulk import BulkJob, RetryChunk
from prynt_relay.store.history_backlog import Backlog
from prynt_relay.store.purge import Purged
from prynt_relay.store.secret_box import SecretBox
from prynt_relay.store.store import Sizes, Store
from prynt_relay.store.writer import Observer

__all__ = ["Backlog", "BulkJob", "Observer", "Purged", "RetryChunk", "SecretBox", "Sizes", "Store"]
