"""The hash by which Kafka's Java clients choose a partition, so that the memory log puts a key where Kafka would.

Kafka's default partitioner hashes the key bytes with 32-bit MurmurHash2, seed 0x9747b28c, clears the sign bit and takes
the remainder by the number of partitions (KIP-480 leaves keyed records as they were).
"""

from __future__ import annotations

_MULTIPLIER = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """32-bit MurmurHash2 with Kafka's seed, unsigned."""
    length = len(data)
    digest = (0x9747B28C ^ length) & _MASK
    whole = length - length % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        digest = digest * _MULTIPLIER & _MASK ^ word
    rest = data[whole:]
    if rest:
        digest = (digest ^ int.from_bytes(rest, "little")) * _MULTIPLIER & _MASK
    digest = (digest ^ digest >> 13) * _MULTIPLIER & _MASK
    return digest ^ digest >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Partition of a keyed record."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
