"""The C structs of DLPack 1.3, and types whose objects describe themselves in C as a test likes."""

import ctypes

NAME = b"dlpack_exchange_api"


class Description(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


Describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(Description))


class Table(ctypes.Structure):
    """DLPackExchangeAPI."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("previous", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 3),
        ("tensor_from_object", Describe),
        ("current_stream", ctypes.c_void_p),
    )


def capsule(address, name):
    """A capsule, which does not keep what it points to."""
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return make(address, name, None)


_tables = []  # what a module has once read stays


def table_of(describe, major=1, previous=None):
    """What hangs at a type as `__dlpack_c_exchange_api__`, and the table itself."""
    table = Table(major=major, tensor_from_object=Describe(describe))
    if previous is not None:
        table.previous = ctypes.addressof(previous)
    _tables.append(table)
    return capsule(ctypes.addressof(table), NAME), table


def torch_table(torch, **always):
    """The same of tensors that say these things otherwise than torch.

    And what a tensor's attribute `told` has; where that is None, it describes nothing.
    """
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    own = Table.from_address(pointer(torch.Tensor.__dlpack_c_exchange_api__, NAME))

    def describe(tensor, out):
        code = own.tensor_from_object(tensor, out)
        told = getattr(tensor, "told", {})
        for name, value in {**always, **(told or {})}.items():
            setattr(out[0], name, value)
        return -1 if told is None else code

    return table_of(describe)
