#include "arrays.hpp"

#include <algorithm>

#include "exchange.hpp"

namespace fusedstep::bindings {

namespace {

constexpr int kFloat32 = 11, kFloat64 = 12;  // NumPy's type numbers

// A native order may be spelled '=' or out, as in arrays from ctypes or an old pickle.
bool is_native(const py::dtype& dtype) {
  const std::uint16_t one = 1;
  const bool little = *reinterpret_cast<const unsigned char*>(&one) == 1;
  return dtype.byteorder() != (little ? '>' : '<');
}

// What NumPy may view: a tensor that autograd follows lends its memory through its detached twin.
py::object lendable(py::handle object) {
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
    PyErr_SetString(PyExc_TypeError, ("that takes NumPy 2.1, here is " + version).c_str());
    throw py::error_already_set();
  }
  return numpy.attr("from_dlpack")(lendable(object), py::arg("copy") = false);
}

// "torch.bfloat16" is called bfloat16 elsewhere.
std::string dtype_name(py::handle object) {
  if (!py::hasattr(object, "dtype")) return "";
  const std::string name = text_of(object.attr("dtype"));
  return name.substr(name.rfind('.') + 1);
}

// `model`: whose dtype is wanted; null: either of those that kernels are compiled for.
[[noreturn]] void refuse_dtype(const py::array* model, const Subject& subject,
                               const std::string& came) {
  refuse(PyExc_TypeError, subject,
         model == nullptr ? "dtype float32 or float64"
                          : "dtype " + text_of(model->dtype()) + " like " + subject.like,
         came);
}

// As as_array(). NumPy cannot view what it has no dtype for: that is refused like other dtypes.
py::array as_floats(py::handle object, const py::array* model, const Subject& subject) {
  try {
    return as_array(object, subject);
  } catch (const py::error_already_set&) {
    if (dtype_name(object) == "bfloat16") refuse_dtype(model, subject, "bfloat16");
    throw;
  }
}

bool has_order(const py::array& a, int order) { return (a.flags() & order) != 0; }

std::string layout(const py::array& a) {
  return "shape " + text_of(a.attr("shape")) + " with strides " + text_of(a.attr("strides"));
}

void check_byte_order(const py::array& a, const Subject& subject) {
  if (!is_native(a.dtype()))
    refuse(PyExc_ValueError, subject, "native byte order",
           "dtype " + text_of(a.dtype().attr("str")));
}

void check_writeable(const py::array& a, const Subject& subject) {
  if (!a.writeable()) refuse(PyExc_ValueError, subject, "a writeable array", "a read-only one");
}

std::size_t rows_of(const py::array& a) {
  return a.ndim() == 0 ? 1 : static_cast<std::size_t>(a.shape(0));
}

CheckedArray checked(py::array a, py::handle object, const Subject& subject) {
  CheckedArray result;
  if (!a.is(object)) result.source = py::reinterpret_borrow<py::object>(object);
  result.descr = a.dtype();
  result.order = a.flags() & kOrders;
  result.dtype = a.dtype().num() == kFloat32 ? Format::float32 : Format::float64;
  result.size = static_cast<std::size_t>(a.size());
  result.rows = rows_of(a);
  result.data = const_cast<void*>(a.data());
  result.item = static_cast<std::size_t>(a.itemsize());
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(result.data) % result.item;
  if (result.size != 0 && offset != 0)
    refuse(PyExc_ValueError, subject,
           "an aligned array (address divisible by " + std::to_string(result.item) + ")",
           "an address " + std::to_string(offset) + " bytes off");
  result.owner = std::move(a);
  return result;
}

}  // namespace

py::array as_array(py::handle object, const Subject& subject) {
  if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_)
    return py::reinterpret_borrow<py::array>(object);
  if (py::isinstance<py::array>(object)) {
    if (py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray")))
      refuse(PyExc_TypeError, subject, "a plain NumPy array", "a masked array");
    return py::reinterpret_borrow<py::array>(object);
  }
  if (py::isinstance(object, py::module_::import("numpy").attr("generic")))
    refuse(PyExc_TypeError, subject, "an array", "a NumPy scalar: use np.asarray(...)");
  if (!py::hasattr(object, "__dlpack__"))
    refuse(PyExc_TypeError, subject, "a NumPy array (or a CPU array that speaks DLPack)",
           type_name(object));
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

CheckedArray check_numbers(py::handle object, const Subject& subject, bool writeable) {
  py::array a = as_floats(object, nullptr, subject);
  const int type = a.dtype().num();
  if (type != kFloat32 && type != kFloat64) refuse_dtype(nullptr, subject, text_of(a.dtype()));
  check_byte_order(a, subject);
  if (writeable) check_writeable(a, subject);
  if (!has_order(a, py::array::c_style) && !has_order(a, py::array::f_style))
    refuse(PyExc_ValueError, subject, "a contiguous array (C or Fortran order)", layout(a));
  return checked(std::move(a), object, subject);
}

static bool is_alike(const py::detail::PyArray_Proxy& a, const CheckedArray& target) {
  const auto& model = *py::detail::array_proxy(target.owner.ptr());
  return a.descr == target.descr.ptr() && (a.flags & kOrders) == target.order && a.nd == model.nd &&
         std::equal(a.dimensions, a.dimensions + a.nd, model.dimensions);
}

static bool has_form_of(const dlpack::Tensor& tensor, const CheckedArray& target) {
  const auto& model = *py::detail::array_proxy(target.owner.ptr());
  return dlpack::has_form(tensor, target.code, target.item, model.dimensions,
                          static_cast<std::size_t>(model.nd),
                          (target.order & py::array::c_style) == 0);
}

bool take_twin(py::handle object, const CheckedArray& target, CheckedArray& out) {
  void* data;
  const bool is_numpy = Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_;
  if (is_numpy) {
    const auto& a = *py::detail::array_proxy(object.ptr());
    if (!is_alike(a, target)) return false;
    data = a.data;
  } else {
    dlpack::Tensor tensor;
    if (!dlpack::describe_numbers(object, tensor) || tensor.device_type != dlpack::kCPU ||
        !has_form_of(tensor, target))
      return false;
    data = dlpack::address(tensor);
    if (data == nullptr && target.size != 0) return false;  // its storage was let go
  }
  if (reinterpret_cast<std::uintptr_t>(data) % target.item != 0) return false;
  out.described = !is_numpy;
  (is_numpy ? out.owner : out.source) = py::reinterpret_borrow<py::object>(object);
  if (!is_numpy) out.owner = target.owner;
  out.descr = target.descr;
  out.data = data;
  out.size = target.size;
  out.item = target.item;
  out.dtype = target.dtype;
  out.order = target.order;
  return true;
}

// Native, in the target's shape and order.
static CheckedArray check_layout(py::array a, py::handle object, const CheckedArray& target,
                                 const Subject& subject, bool writeable) {
  const py::array model = target.array();
  check_byte_order(a, subject);
  const bool same_shape =
      a.ndim() == model.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), model.shape());
  if (!same_shape)
    refuse(PyExc_ValueError, subject,
           "shape " + text_of(model.attr("shape")) + std::string(" like ") + subject.like,
           text_of(a.attr("shape")));
  if (writeable) check_writeable(a, subject);
  // An array may be contiguous both ways (one dimension, or none longer than 1).
  const int c = py::array::c_style, f = py::array::f_style;
  if (!(has_order(model, c) && has_order(a, c)) && !(has_order(model, f) && has_order(a, f)))
    refuse(PyExc_ValueError, subject,
           std::string("a contiguous array in ") + (has_order(model, c) ? "C" : "Fortran") +
               " order like " + subject.like,
           layout(a));
  return checked(std::move(a), object, subject);
}

CheckedArray check_companion(py::handle object, const CheckedArray& target, const Subject& subject,
                             bool writeable) {
  const py::array model = target.array();
  py::array a = as_floats(object, &model, subject);
  if (a.dtype().num() != model.dtype().num()) refuse_dtype(&model, subject, text_of(a.dtype()));
  return check_layout(std::move(a), object, target, subject, writeable);
}

void refuse_rows(const CheckedArray& param, const Subject& subject, const std::string& what_for) {
  const bool c_order = (param.order & py::array::c_style) != 0;
  refuse(PyExc_ValueError, subject, "an array of rows in C order for " + what_for,
         "shape " + text_of(param.owner.attr("shape")) + (c_order ? "" : " in Fortran order"));
}

CheckedArray one_a_row(const CheckedArray& param, const Subject& subject,
                       const std::string& what_for) {
  if ((param.order & py::array::c_style) == 0) refuse_rows(param, subject, what_for);
  const py::array a = param.array();
  const auto rows = static_cast<py::ssize_t>(rows_of(a));
  CheckedArray result = param;
  result.owner = py::array(a.dtype(), {rows}, {a.itemsize()}, a.data(), a);
  result.size = static_cast<std::size_t>(rows);
  result.order = kOrders;
  return result;
}

CheckedArray check_copy(py::handle object, const CheckedArray& target, const Subject& subject) {
  if (target.dtype != Format::float32)
    refuse(PyExc_TypeError, subject, "a float32 parameter", "one of float64");
  py::array a = as_array(object, subject);
  const std::string name = text_of(a.dtype().attr("name"));
  if (name != "bfloat16" && name != "uint16")
    refuse(PyExc_TypeError, subject, "dtype bfloat16 (or its bits as uint16)", name);
  CheckedArray result = check_layout(std::move(a), object, target, subject, /*writeable=*/true);
  result.dtype = Format::bfloat16;
  if (py::hasattr(object, "bits_of")) result.source = object.attr("bits_of");
  dlpack::Tensor tensor;
  if (result.source && dlpack::describe(result.source, tensor)) result.code = tensor.code;
  return result;
}

// torch lets a tensor's memory be exchanged under its views; the tensor tells, or its data_ptr().
static bool source_has_moved(const CheckedArray& checked) {
  const bool lies_somewhere = checked.size != 0;  // else libraries call the place this or that
  dlpack::Tensor now;
  if (dlpack::describe(checked.source, now))
    return !has_form_of(now, checked) || (lies_somewhere && dlpack::address(now) != checked.data);
  if (!lies_somewhere || !py::hasattr(checked.source, "data_ptr")) return false;
  return py::cast<std::uintptr_t>(checked.source.attr("data_ptr")()) !=
         reinterpret_cast<std::uintptr_t>(checked.data);
}

[[noreturn]] static void refuse_changed(const Subject& subject) {
  refuse(PyExc_ValueError, subject, "the array as it was when it was handed over",
         "one that was resized, retyped or reallocated since");
}

void check_rows_unchanged(const CheckedArray& checked, const Subject& subject) {
  if (rows_of(checked.array()) != checked.rows) refuse_changed(subject);
}

void check_slowly(const CheckedArray& checked, const Subject& subject, bool writeable) {
  if (checked.source ? source_has_moved(checked) : !is_unchanged(checked, false))
    refuse_changed(subject);
  if (!writeable || (checked.described && is_torch(checked.source))) return;  // torch locks nothing
  check_writeable(checked.described ? as_array(checked.source, subject) : checked.array(), subject);
}

}  // namespace fusedstep::bindings
