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
         std::equal(a.dimensions, a.dimensions + a.nd, model.dimensions) &&
         (target.order != 0 || std::equal(a.strides, a.strides + a.nd, model.strides));
}

bool has_form_of(const dlpack::Tensor& tensor, const HostArray& target) {
  const auto& model = *py::detail::array_proxy(target.owner.ptr());
  return dlpack::has_form(tensor, target.code, target.item, model.dimensions, model.strides,
                          static_cast<std::size_t>(model.nd));
}

bool is_where_it_was(const dlpack::Tensor& now, const HostArray& checked) {
  const bool lies_somewhere = checked.size != 0;  // else libraries call the place this or that
  return has_form_of(now, checked) && (!lies_somewhere || dlpack::address(now) == checked.data);
}

}  // namespace

HostArray::HostArray(Description&& description, Format format_of_it)
    : CheckedArray(std::move(description), format_of_it),
      descr(py::reinterpret_borrow<py::object>(py::detail::array_proxy(owner.ptr())->descr)),
      rows(description.shape.empty() ? 1 : static_cast<std::size_t>(description.shape[0])) {}

HostArray check_numbers(py::handle object, const Subject& subject, bool writeable) {
  Description array = read_array(object, subject);
  const Format format = check_array(array, {Formats::numbers(), false, writeable}, subject);
  return HostArray(std::move(array), format);
}

HostArray check_like(py::handle object, const HostArray& target, Expected expected,
                     const Subject& subject) {
  Description array = read_array(object, subject);
  const Model model = model_of(target);  // after that, which may be anybody's code
  expected.like = &model;
  const Format format = check_array(array, expected, subject);
  return HostArray(std::move(array), format);
}

HostArray one_axis(const HostArray& param, std::size_t size) {
  const py::array a = param.array();
  HostArray result = param;
  result.owner = py::array(a.dtype(), {size}, {a.itemsize()}, a.data(), a);
  result.size = size;
  result.order = kOrders;
  return result;
}

HostArray one_a_row(const HostArray& param, const Subject& subject, const std::string& what_for) {
  if ((param.order & kC) == 0) refuse_rows(model_of(param), subject, what_for);
  return one_axis(param, rows_of(param.array()));
}

Model model_of(const HostArray& array) {
  const py::array owner = array.array();
  Model model;
  model.format = array.format;
  model.shape.assign(owner.shape(), owner.shape() + owner.ndim());
  model.strides.assign(owner.strides(), owner.strides() + owner.ndim());
  model.item = array.item;
  model.order = owner.flags() & kOrders;
  return model;
}

bool take_matching(py::handle object, const HostArray& target, const Acquaintance& known,
                   HostArray& out) {
  const bool is_numpy = Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_;
  dlpack::Describe look = nullptr;
  void* data;
  if (is_numpy) {
    const auto& a = *py::detail::array_proxy(object.ptr());
    if (!is_alike(a, target)) return false;
    data = a.data;
  } else {
    dlpack::Tensor tensor;
    // Of other libraries' arrays this does not say which are locked.
    if (is_torch(object)) look = dlpack::describe_numbers(object, tensor, known);
    if (look == nullptr || tensor.device_type != dlpack::kCPU || !has_form_of(tensor, target))
      return false;
    data = dlpack::address(tensor);
    if (data == nullptr && target.size != 0) return false;  // its storage was freed
  }
  if (reinterpret_cast<std::uintptr_t>(data) % target.item != 0) return false;
  const auto passed = py::reinterpret_borrow<py::object>(object);
  out.owner = is_numpy ? passed : target.owner;
  if (!is_numpy) out.source = passed;
  out.look = look;
  out.descr = target.descr;
  out.data = data;
  out.set_form(target);
  return true;
}

bool has_no_gaps(const HostArray& checked) {
  const auto& array = *py::detail::array_proxy(checked.owner.ptr());
  return is_dense(array.dimensions, array.strides, static_cast<std::size_t>(array.nd),
                  checked.item);
}

bool is_movable(const HostArray& checked) { return checked.source || checked.array().owndata(); }

void check_rows_unchanged(const HostArray& checked, const Subject& subject) {
  if (rows_of(checked.array()) != checked.rows) refuse_changed(subject);
}

bool is_unmoved(const HostArray& checked) {
  dlpack::Tensor now;
  return dlpack::describe(checked.look, checked.source, now) && is_where_it_was(now, checked);
}

void ask(const HostArray& checked, const Subject& subject) {
  dlpack::Tensor now;
  if (dlpack::describe(dlpack::describes(checked.source, /*quietly=*/false), checked.source, now)) {
    if (!is_where_it_was(now, checked)) refuse_changed(subject);
  } else if (checked.size != 0 && py::hasattr(checked.source, "data_ptr")) {
    const auto address = py::cast<std::uintptr_t>(checked.source.attr("data_ptr")());
    if (address != reinterpret_cast<std::uintptr_t>(checked.data)) refuse_changed(subject);
  }
}

}  // namespace fusedstep::bindings
