"""The host tier: bytes of kept blocks in the machine's own memory. What may stay there is not decided here."""

from windowtax.store.disk.record import Record


class HostTier:
    """Records in memory, by key. Their bytes must not change while they are here."""

    def __init__(self) -> None:
        self.used_bytes = 0
        self._records: dict[bytes, Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def get(self, key: bytes) -> Record | None:
        """The record of that name."""
        return self._records.get(key)

    def records(self) -> list[Record]:
        """All records, the oldest first."""
        return list(self._records.values())

    def put(self, record: Record) -> None:
        """Keeps a record, in place of one of the same name."""
        self.drop(record.key)
        self._records[record.key] = record
        self.used_bytes += record.payload_bytes

    def drop(self, key: bytes) -> Record | None:
        """Lets a record go, and returns it."""
        record = self._records.pop(key, None)
        if record is not None:
            self.used_bytes -= record.payload_bytes
        return record
