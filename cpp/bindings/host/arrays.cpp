#include "arrays.hpp"

#include <algorithm>
#include <utility>

#include "bindings/exchange.hpp"
#include "reader.hpp"

namespace fusedstep::bindings {
namespace {

std::size_t rows_of(const py::array& a) {
  return a.ndim() == 0 ? 1 : static_cast<std::size_t>(a.shape(0));
}

bool is_alike(const py::detail::PyArray_Proxy& a, const HostArray& target) {
  const auto& model = *py::detail::array_proxy(target.owner.ptr());
  return a.descr == target.descr.ptr() && (a.flags & kOrders) == target.order && a.nd == model.nd &&
         std::equal(a.dimensions, a.dimensions + a.nd, model.dimensions);
}

bool has_form_of(const dlpack::Tensor& tensor, const HostArray& target) {
  const auto& model = *py::detail::array_proxy(target.owner.ptr());
  return dlpack::has_form(tensor, target.code, target.item, model.dimensions,
                          static_cast<std::size_t>(model.nd), (target.order & kC) == 0);
}

// torch lets a tensor's memory be exchanged under its views: the tensor, or its data_ptr(), reports
// where it is.
bool source_has_moved(const HostArray& checked) {
  const bool lies_somewhere = checked.size != 0;  // else libraries call the place this or that
  dlpack::Tensor now;
  if (dlpack::describe(checked.source, now))
    return !has_form_of(now, checked) || (lies_somewhere && dlpack::address(now) != checked.data);
  if (!lies_somewhere || !py::hasattr(checked.source, "data_ptr")) return false;
  return py::cast<std::uintptr_t>(checked.source.attr("data_ptr")()) !=
         reinterpret_cast<std::uintptr_t>(checked.data);
}

}  // namespace

HostArray::HostArray(Description&& description)
    : CheckedArray(std::move(description)),
      descr(py::reinterpret_borrow<py::object>(py::detail::array_proxy(owner.ptr())->descr)),
      rows(description.shape.empty() ? 1 : static_cast<std::size_t>(description.shape[0])) {}

HostArray check_numbers(py::handle object, const Subject& subject, bool writeable) {
  Description array = read_numbers(object, subject);
  check_array(array, {Holds::numbers, nullptr, writeable}, subject);
  return HostArray(std::move(array));
}

HostArray check_like(py::handle object, const HostArray& target, const Subject& subject,
                     bool writeable) {
  Description array = read_numbers(object, subject);
  const Model model = model_of(target);  // after that, which may be anybody's code
  check_array(array, {Holds::numbers_of_model, &model, writeable}, subject);
  return HostArray(std::move(array));
}

HostArray check_copy(py::handle object, const HostArray& target, const Subject& subject) {
  check_takes_copy(target.format, subject);
  Description array = read_array(object, subject);
  const Model model = model_of(target);
  check_array(array, {Holds::bfloat16, &model, /*writeable=*/true}, subject);
  HostArray result(std::move(array));
  if (py::hasattr(object, "bits_of")) result.source = object.attr("bits_of");
  dlpack::Tensor tensor;
  if (result.source && dlpack::describe(result.source, tensor)) result.code = tensor.code;
  return result;
}

HostArray one_a_row(const HostArray& param, const Subject& subject, const std::string& what_for) {
  if ((param.order & kC) == 0) refuse_rows(model_of(param), subject, what_for);
  const py::array a = param.array();
  const auto rows = static_cast<py::ssize_t>(rows_of(a));
  HostArray result = param;
  result.owner = py::array(a.dtype(), {rows}, {a.itemsize()}, a.data(), a);
  result.size = static_cast<std::size_t>(rows);
  result.order = kOrders;
  return result;
}

Model model_of(const HostArray& array) {
  const py::array owner = array.array();
  Model model;
  model.format = array.format;
  model.shape.assign(owner.shape(), owner.shape() + owner.ndim());
  model.order = owner.flags() & kOrders;
  return model;
}

bool take_matching(py::handle object, const HostArray& target, HostArray& out) {
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
    if (data == nullptr && target.size != 0) return false;  // its storage was freed
  }
  if (reinterpret_cast<std::uintptr_t>(data) % target.item != 0) return false;
  out.is_viewed = is_numpy;
  (is_numpy ? out.owner : out.source) = py::reinterpret_borrow<py::object>(object);
  if (!is_numpy) out.owner = target.owner;
  out.descr = target.descr;
  out.data = data;
  out.set_form(target);
  return true;
}

void check_rows_unchanged(const HostArray& checked, const Subject& subject) {
  if (rows_of(checked.array()) != checked.rows) refuse_changed(subject);
}

void check_slowly(const HostArray& checked, const Subject& subject, bool writeable) {
  if (checked.source ? source_has_moved(checked) : !is_unchanged(checked, false))
    refuse_changed(subject);
  if (!writeable || (!checked.is_viewed && is_torch(checked.source)))
    return;  // torch locks nothing
  const py::array array = checked.is_viewed ? checked.array() : as_array(checked.source, subject);
  if (!array.writeable()) refuse_read_only(subject);
}

}  // namespace fusedstep::bindings
