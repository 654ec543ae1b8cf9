"""What stands before a payload in an encoded tf.Example: tags and lengths, outermost first."""

import functools

from yt8m_data.varint import encode_varint


class Prefixes(dict[int, bytes]):
    """What stands before a payload, by its length: `headers` (tags, outermost first), each followed by the length of all behind it."""

    def __init__(self, *headers: bytes) -> None:
        super().__init__()
        self.headers = headers

    def __missing__(self, length: int) -> bytes:
        prefix = b""
        for header in reversed(self.headers):
            prefix = header + encode_varint(len(prefix) + length) + prefix
        self[length] = prefix
        return prefix


@functools.cache
def frame_header(size: int) -> bytes:
    """Encode what stands before the bytes of each frame in a `FeatureList`: Feature { BytesList { value } }."""
    return Prefixes(b"\x0a", b"\x0a", b"\x0a")[size]


def entry_prefixes(key: bytes, *tags: bytes) -> Prefixes:
    """Prefixes of a map entry: key, then value, within which the messages of `tags` enclose the payload."""
    return Prefixes(b"\x0a", b"\x0a" + encode_varint(len(key)) + key + b"\x12", *tags)
