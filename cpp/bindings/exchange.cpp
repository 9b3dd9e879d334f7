#include "exchange.hpp"

#include <array>
#include <utility>

namespace fusedstep::bindings {
namespace {

constexpr const char* kTable = "__dlpack_c_exchange_api__";
constexpr const char* kDispatch = "__torch_dispatch__";

// Borrowed, since a library's class stays; null where nobody has imported it.
PyTypeObject* class_of(const char* library, const char* name) {
  PyObject* const module = PyImport_GetModule(py::str(library).ptr());
  if (module == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  PyObject* const type = PyObject_GetAttrString(module, name);
  Py_DECREF(module);
  if (type == nullptr || PyType_Check(type) == 0) {
    PyErr_Clear();
    Py_XDECREF(type);
    return nullptr;
  }
  return reinterpret_cast<PyTypeObject*>(type);
}

py::object attribute_of(py::handle type, const char* name) {
  auto found = py::reinterpret_steal<py::object>(PyObject_GetAttrString(type.ptr(), name));
  PyErr_Clear();
  return found;
}

// What is known of a type.
struct Described {
  py::object type;
  dlpack::Describe function = nullptr;
  py::object is_neg;   // torch's method
  bool plain = false;  // its numbers are those in the memory that it describes
  bool quiet = false;  // no Python code runs when it does
};

Described look_at(PyTypeObject* type) {
  Described result;
  result.type = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(type));
  const py::object capsule = attribute_of(result.type, kTable);
  if (!capsule || PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api") == 0) return result;
  auto* table = static_cast<const dlpack::ExchangeTable*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  // Older tables hang behind newer ones.
  while (table != nullptr && table->major > 1) table = table->previous;
  if (table == nullptr || table->major != 1) return result;
  result.function = table->tensor_from_object;
  static PyTypeObject *tensor = nullptr, *parameter = nullptr;
  if (tensor == nullptr) tensor = class_of("torch", "Tensor");
  if (parameter == nullptr) parameter = class_of("torch.nn", "Parameter");
  const py::object own = attribute_of(result.type, "__dict__");
  result.plain = type == parameter || (own && own.contains(kTable));
  if (tensor == nullptr || PyType_IsSubtype(type, tensor) == 0) return result;
  // With a dispatch of its own, a tensor's shape may be a function in Python.
  const auto base = py::handle(reinterpret_cast<PyObject*>(tensor));
  result.quiet = attribute_of(result.type, kDispatch).is(attribute_of(base, kDispatch));
  result.is_neg = attribute_of(result.type, "is_neg");
  return result;
}

// A program has a few plain types, and looks at one after another of the same. Those that are kept
// here stay, and are alive: another type cannot come to their address.
std::array<Described, 8>& kept() {
  static auto& types = *new std::array<Described, 8>;  // outlives the interpreter
  return types;
}

const Described* find_kept(py::handle object) {
  const auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(object.ptr()));
  for (const Described& one : kept())
    if (one.type.ptr() == type) return &one;
  return nullptr;
}

// Reads the type's attributes, and keeps what it finds of a plain one where there is room.
Described look_at_type_of(py::handle object) {
  if (const Described* const known = find_kept(object)) return *known;
  const Described result = look_at(Py_TYPE(object.ptr()));
  if (!result.plain || find_kept(object) != nullptr) return result;
  for (Described& one : kept()) {
    if (one.type) continue;
    one = result;
    break;
  }
  return result;
}

// Whether torch says that the negative bit is not set.
bool is_known_positive(const Described& kind, py::handle object) {
  if (!kind.is_neg) return false;
  PyObject* const self = object.ptr();
  const auto negated =
      py::reinterpret_steal<py::object>(PyObject_Vectorcall(kind.is_neg.ptr(), &self, 1, nullptr));
  PyErr_Clear();
  return negated.ptr() == Py_False;
}

dlpack::Describe describe_numbers_as(const Described& kind, py::handle object, dlpack::Tensor& out,
                                     const Acquaintance& known) {
  if (!kind.plain) return nullptr;
  // Before the memory is looked at, since torch lets other threads in meanwhile.
  if (!known.is(object) && !is_known_positive(kind, object)) return nullptr;
  return dlpack::describe(kind.function, object, out) ? kind.function : nullptr;
}

}  // namespace

bool is_of(py::handle object, PyTypeObject*& type, const char* library, const char* name) {
  if (type == nullptr) type = class_of(library, name);
  return type != nullptr && PyObject_TypeCheck(object.ptr(), type);
}

bool is_torch(py::handle object) {
  static PyTypeObject* type = nullptr;
  return is_of(object, type, "torch", "Tensor");
}

bool is_negated(py::handle object) {
  return is_torch(object) && py::cast<bool>(py::bool_(object.attr("is_neg")()));
}

std::string torch_dtype(py::handle tensor) {
  const std::string text = text_of(tensor.attr("dtype"));
  return text.substr(text.find('.') + 1);
}

bool Acquaintance::is(py::handle object) const {
  if (!reference_) return false;
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* target = nullptr;
  PyWeakref_GetRef(reference_.ptr(), &target);
  Py_XDECREF(target);
  return target == object.ptr();
#else
  return PyWeakref_GET_OBJECT(reference_.ptr()) == object.ptr();
#endif
}

void Acquaintance::meet(py::handle object) {
  if (is(object)) return;
  // A reference costs as much as the question that it saves; most loops have new gradients each
  // time.
  if (std::exchange(last_, object.ptr()) != object.ptr()) return;
  reference_ = py::reinterpret_steal<py::object>(PyWeakref_NewRef(object.ptr(), nullptr));
  PyErr_Clear();
}

namespace dlpack {

Describe describes(py::handle object, bool quietly) {
  const Described kind = look_at_type_of(object);
  return kind.quiet || !quietly ? kind.function : nullptr;
}

bool describe(Describe function, py::handle object, Tensor& out) {
  if (function == nullptr) return false;
  if (function(object.ptr(), &out) == 0) return true;
  PyErr_Clear();
  return false;
}

Describe describe_numbers(py::handle object, Tensor& out, const Acquaintance& known) {
  const Described* const kept = find_kept(object);
  return kept != nullptr ? describe_numbers_as(*kept, object, out, known)
                         : describe_numbers_as(look_at_type_of(object), object, out, known);
}

std::string dtype_name(const Tensor& tensor) {
  const std::string bits = std::to_string(tensor.bits);
  if (tensor.lanes != 1) return "vectors of " + std::to_string(tensor.lanes);
  switch (tensor.code) {
    case kFloat:
      return "float" + bits;
    case kBfloat:
      return "bfloat" + bits;
    case kInt:
      return "int" + bits;
    case kUInt:
      return "uint" + bits;
    case kComplex:
      return "complex" + bits;
    case kBool:
      return "bool";
    default:
      return "DLPack type code " + std::to_string(tensor.code);
  }
}

}  // namespace dlpack
}  // namespace fusedstep::bindings
