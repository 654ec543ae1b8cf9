"""Bytes of protobuf messages, put together by the definition of its encoding."""


def varint(value: int, padding: int = 0) -> bytes:
    """A varint; `padding` adds groups of zero bits, which are legal and not minimal."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    groups += [0] * padding
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def field(number: int, payload: bytes, padding: int = 0) -> bytes:
    """A field that has a length."""
    return bytes([number << 3 | 2]) + varint(len(payload), padding) + payload
