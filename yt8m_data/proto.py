"""tf.Example and tf.SequenceExample as protobuf messages, without TensorFlow: the reference that the fast codec falls back to.

The schema is that of TensorFlow's `core/example/feature.proto` and `example.proto`, built in a descriptor pool of its own, so that it
stands beside TensorFlow's in one process. One thing differs: a map is declared as what it is on the wire, a repeated entry of key and
value, because protobuf's Python parser drops a map entry that has an unknown field. The last entry of a key counts.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="yt8m_data/example.proto", package="yt8m_data", syntax="proto3")

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def add(target: Any, name: str, number: int, kind: int, *, repeated: bool = False, of: str | None = None, oneof: bool = False) -> None:
        label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        field = target.field.add(name=name, number=number, type=kind, label=label)
        if of:
            field.type_name = f".yt8m_data.{of}"
        if oneof:
            field.oneof_index = 0

    def add_map(target: Any, name: str, of: str) -> None:
        entry = target.nested_type.add(name="Entry")
        add(entry, "key", 1, _FIELD.TYPE_STRING)
        add(entry, "value", 2, _FIELD.TYPE_MESSAGE, of=of)
        add(target, name, 1, _FIELD.TYPE_MESSAGE, repeated=True, of=f"{target.name}.Entry")

    add(message("BytesList"), "value", 1, _FIELD.TYPE_BYTES, repeated=True)
    add(message("FloatList"), "value", 1, _FIELD.TYPE_FLOAT, repeated=True)
    add(message("Int64List"), "value", 1, _FIELD.TYPE_INT64, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, of) in enumerate((("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")), 1):
        add(feature, name, number, _FIELD.TYPE_MESSAGE, of=of, oneof=True)
    add_map(message("Features"), "feature", "Feature")
    add(message("FeatureList"), "feature", 1, _FIELD.TYPE_MESSAGE, repeated=True, of="Feature")
    add_map(message("FeatureLists"), "feature_list", "FeatureList")
    add(message("Example"), "features", 1, _FIELD.TYPE_MESSAGE, of="Features")
    sequence = message("SequenceExample")
    add(sequence, "context", 1, _FIELD.TYPE_MESSAGE, of="Features")
    add(sequence, "feature_lists", 2, _FIELD.TYPE_MESSAGE, of="FeatureLists")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("Example", "SequenceExample")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"yt8m_data.{name}")) for name in names}


_CLASSES = _build()
Example = _CLASSES["Example"]
SequenceExample = _CLASSES["SequenceExample"]
