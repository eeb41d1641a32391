"""Any message of the protos, as a strategy made from its description, and what no answer tells."""

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor as Field
from hypothesis import strategies as st

__all__ = ["INSIDES", "messages"]

INSIDES = (b"Traceback", b".py", b"llmrouter.gateway", b"Error(", b"object at 0x")
"""Of ours, which no caller is to see."""

_DEEPEST = 4
_LONG = "word " * 4000
_TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "tiny", "vectors", "balanced", "a\0b", "\u202e", _LONG]),
)
_NUMBERS = {
    Field.CPPTYPE_INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    Field.CPPTYPE_INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    Field.CPPTYPE_UINT32: st.integers(0, 40) | st.integers(0, (1 << 32) - 1),
    Field.CPPTYPE_UINT64: st.integers(0, (1 << 64) - 1),
    Field.CPPTYPE_DOUBLE: st.floats(0, 2) | st.floats(),
    Field.CPPTYPE_FLOAT: st.floats(-2, 2) | st.floats(width=32),
    Field.CPPTYPE_BOOL: st.booleans(),
}


def messages(kind, depth=0):
    """Give messages of a class with few of their fields set, in bounds and out of them."""
    fields = {}
    for field in kind.DESCRIPTOR.fields:
        if field.message_type is None or depth < _DEEPEST:
            fields[field.name] = _values(field, depth)
    if not fields:
        return st.just(kind())
    some = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=3)
    return some.flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    ).map(lambda given: kind(**given))


def _values(field, depth):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return st.dictionaries(_one(key, depth), _one(value, depth), max_size=3)
    if field.is_repeated:
        return st.lists(_one(field, depth), max_size=3)
    return _one(field, depth)


def _one(field, depth):
    if field.message_type is not None:
        return messages(message_factory.GetMessageClass(field.message_type), depth + 1)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from(known) | st.sampled_from([-1, 99])
    if field.cpp_type == Field.CPPTYPE_STRING:
        return st.binary(max_size=40) if field.type == Field.TYPE_BYTES else _TEXTS
    return _NUMBERS[field.cpp_type]
