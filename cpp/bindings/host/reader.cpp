#include "reader.hpp"

#include <cstdint>
#include <optional>
#include <utility>

#include "bindings/exchange.hpp"
#include "bindings/rows.hpp"

namespace fusedstep::bindings {
namespace {

// The dtype of views of a bfloat16 that is not NumPy's: no array that a user has is of it.
constexpr const char* kTwoBytes = "V2";
constexpr int kUserDefined = 24;  // NumPy's own dtypes with a type number have a lower one

// A native order may be spelled '=' or out, as in arrays from ctypes or an old pickle.
constexpr char kForeignOrder = PY_BIG_ENDIAN ? '<' : '>';

// Names that NumPy would have to be asked for in Python; null: not one of these.
const char* name_of_number(const py::dtype& dtype) {
  if (dtype.num() >= kUserDefined) return nullptr;
  const auto bytes = dtype.itemsize();
  switch (dtype.kind()) {
    case 'f':
      return bytes == 4 ? "float32" : bytes == 8 ? "float64" : nullptr;
    case 'i':
      return bytes == 4 ? "int32" : bytes == 8 ? "int64" : nullptr;
    case 'u':
      return bytes == 2 ? "uint16" : nullptr;
    default:
      return nullptr;
  }
}

// What NumPy may view: of a tensor that requires gradients, a detached one in the same memory.
py::object viewable(py::handle object) {
  if (is_negated(object)) {
    PyErr_SetString(PyExc_BufferError, kNegated);
    throw py::error_already_set();
  }
  const bool followed = py::hasattr(object, "requires_grad") && py::hasattr(object, "detach") &&
                        py::cast<bool>(py::bool_(object.attr("requires_grad")));
  return followed ? object.attr("detach")() : py::reinterpret_borrow<py::object>(object);
}

// NumPy before 2.1 cannot be told not to copy, and locks what it views.
py::array view_through_dlpack(py::handle object) {
  const py::module_ numpy = py::module_::import("numpy");
  const auto version = py::cast<std::string>(numpy.attr("__version__"));
  const int major = std::stoi(version);
  const int minor = std::stoi(version.substr(version.find('.') + 1));
  if (major < 2 || (major == 2 && minor < 1)) {
    PyErr_SetString(PyExc_TypeError, ("requires NumPy >= 2.1; found " + version).c_str());
    throw py::error_already_set();
  }
  py::array view = numpy.attr("from_dlpack")(viewable(object), py::arg("copy") = false);
  if (view.owndata() && view.size() != 0) {  // NumPy's own, where there was none
    PyErr_SetString(PyExc_BufferError,
                    "it has no memory of its own: use the tensor that it stands for");
    throw py::error_already_set();
  }
  return view;
}

// Whether NumPy may have a dtype for them, or will be told two bytes for a bfloat16.
bool has_numbers(const dlpack::Tensor& tensor) {
  const bool is_real = tensor.code <= dlpack::kFloat || tensor.code == dlpack::kBfloat;
  return is_real && tensor.lanes == 1 && tensor.bits % 8 == 0;
}

// A tensor of torch as it describes itself in C, with a NumPy view of its storage: a view through
// DLPack would keep the tensor, by a reference that Python's garbage collector cannot see. Nothing
// where it has no numbers of its own on the CPU; then DLPack says why.
std::optional<Description> read_tensor(py::handle object) {
  Description result;
  result.look = is_torch(object) ? dlpack::describes(object, /*quietly=*/true) : nullptr;
  if (result.look == nullptr) return std::nullopt;
  py::object storage;
  try {
    if (is_negated(object)) return std::nullopt;
    storage = object.attr("untyped_storage")();
  } catch (const py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // Ctrl-C is no property of the tensor
    return std::nullopt;
  }
  dlpack::Tensor tensor;  // looked at last, since all of the above may be anybody's code
  if (!dlpack::describe(result.look, object, tensor) || tensor.device_type != dlpack::kCPU)
    return std::nullopt;
  result.source = py::reinterpret_borrow<py::object>(object);
  result.item = tensor.bits / 8;
  result.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  result.strides = strides_of(tensor, result.shape, result.item);
  result.order = order_of(result.shape, result.strides, result.item);
  result.data = dlpack::address(tensor);
  const bool is_of_numbers = has_numbers(tensor);
  // By a name that is none of NumPy's, whatever the tensor says, it is refused.
  result.dtype = is_of_numbers ? dlpack::dtype_name(tensor) : "torch." + torch_dtype(object);
  const bool was_freed = result.data == nullptr && result.size() != 0;
  if (!is_of_numbers || was_freed) return result;
  const py::dtype dtype(tensor.code == dlpack::kBfloat ? kTwoBytes : result.dtype);
  result.owner = py::array(dtype, result.shape, result.strides, result.data, storage);
  return result;
}

bool is_torch_bfloat16(py::handle object) {
  return is_torch(object) && torch_dtype(object) == "bfloat16";
}

py::object bits_of(py::handle tensor) {
  return tensor.attr("detach")().attr("view")(py::module_::import("torch").attr("int16"));
}

// What NumPy makes of a list; null where that is nothing.
py::object from_list(py::handle list) {
  try {
    return py::module_::import("numpy").attr("asarray")(list);
  } catch (const py::error_already_set&) {
    return {};
  }
}

// A NumPy array as it is, or a view through DLPack.
py::array as_array(py::handle object, const Subject& subject) {
  static PyTypeObject *masked = nullptr, *generic = nullptr;
  if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_)
    return py::reinterpret_borrow<py::array>(object);
  if (py::isinstance<py::array>(object)) {
    if (is_of(object, masked, "numpy.ma", "MaskedArray"))
      refuse(PyExc_TypeError, subject, "a plain NumPy array", "a masked array");
    return py::reinterpret_borrow<py::array>(object);
  }
  if (is_of(object, generic, "numpy", "generic"))
    refuse(PyExc_TypeError, subject, "an array", "a NumPy scalar: use np.asarray(...)");
  if (!py::hasattr(object, "__dlpack__"))
    refuse(
        PyExc_TypeError, subject, "a NumPy array (or a CPU array that supports DLPack)",
        type_name(object) + (py::hasattr(object, "parameters") ? ": pass its .parameters()" : ""));
  try {
    return view_through_dlpack(object);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;  // Ctrl-C is no property of the array
    const std::string what = subject.text() + ": expected an array that NumPy can view through " +
                             "DLPack without a copy, got " + type_name(object) + " (" +
                             text_of(error.value()) + ")";
    py::raise_from(error, PyExc_TypeError, what.c_str());
    throw py::error_already_set();
  }
}

}  // namespace

Description describe(const py::array& array) {
  Description result;
  const py::dtype dtype = array.dtype();
  result.owner = array;
  result.data = py::detail::array_proxy(array.ptr())->data;
  result.shape.assign(array.shape(), array.shape() + array.ndim());
  result.strides.assign(array.strides(), array.strides() + array.ndim());
  result.item = static_cast<std::size_t>(dtype.itemsize());
  result.order = array.flags() & kOrders;
  result.is_native = dtype.byteorder() != kForeignOrder;
  result.is_writeable = array.writeable();
  const char* const name = name_of_number(dtype);
  result.dtype = name != nullptr ? name : text_of(dtype.attr("name"));
  if (name == nullptr || !result.is_native) result.dtype_in_full = text_of(dtype);
  return result;
}

Description read_array(py::handle object, const Subject& subject) {
  if (std::optional<Description> tensor = read_tensor(object)) return std::move(*tensor);
  const bool is_bfloat16 = is_torch_bfloat16(object);
  Description result = describe(as_array(
      is_bfloat16 ? bits_of(object) : py::reinterpret_borrow<py::object>(object), subject));
  if (is_bfloat16) {
    result.owner = result.owner.attr("view")(kTwoBytes);
    result.dtype = "bfloat16";
  }
  // Not the tensor's bits, which would keep the old memory where the tensor is given another.
  if (!result.owner.is(object)) result.source = py::reinterpret_borrow<py::object>(object);
  return result;
}

bool is_listed(py::handle object) {
  return py::isinstance<py::list>(object) || py::isinstance<py::tuple>(object);
}

Description read_indices(py::handle indices, const Subject& subject) {
  const bool listed = is_listed(indices);
  // NumPy would make floats of an empty list.
  if (listed && py::len(indices) == 0)
    return describe(py::array(py::dtype::of<std::int64_t>(), Sizes{0}));
  const py::object given =
      listed ? from_list(indices) : py::reinterpret_borrow<py::object>(indices);
  if (!given || !(py::isinstance<py::array>(given) || py::hasattr(given, "__dlpack__")))
    refuse(PyExc_TypeError, subject, kIndices, type_name(indices));
  Description result = read_array(given, subject);
  check_indices(result, subject);
  return result;
}

}  // namespace fusedstep::bindings
