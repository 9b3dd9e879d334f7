#include "rows.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace fusedstep::bindings {
namespace {

template <class Integer>
std::vector<std::int64_t> widened(const py::array& a) {
  std::vector<std::int64_t> result(static_cast<std::size_t>(a.size()));
  const auto* const bytes = static_cast<const std::byte*>(a.data());
  for (std::size_t i = 0; i < result.size(); ++i) {
    Integer value;  // an array of indices may have any stride
    std::memcpy(&value, bytes + std::ptrdiff_t(i) * a.strides(0), sizeof value);
    result[i] = value;
  }
  return result;
}

// What NumPy makes of a list; null where that is nothing.
py::object from_list(py::handle list) {
  try {
    return py::module_::import("numpy").attr("asarray")(list);
  } catch (const py::error_already_set&) {
    return {};
  }
}

}  // namespace

std::vector<std::int64_t> row_numbers(py::handle indices, std::size_t limit,
                                      const Subject& subject) {
  const char* const expected = "a one-dimensional array of int32 or int64";
  const bool listed = py::isinstance<py::list>(indices) || py::isinstance<py::tuple>(indices);
  if (listed && py::len(indices) == 0) return {};  // NumPy would make floats of it
  const py::object given =
      listed ? from_list(indices) : py::reinterpret_borrow<py::object>(indices);
  if (!given || !(py::isinstance<py::array>(given) || py::hasattr(given, "__dlpack__")))
    refuse(PyExc_TypeError, subject, expected, type_name(indices));
  const py::array a = as_array(given, subject);
  const bool is_integer = a.dtype().kind() == 'i' && (a.itemsize() == 4 || a.itemsize() == 8);
  const bool is_native = py::cast<bool>(a.dtype().attr("isnative"));
  if (!is_integer || !is_native || a.ndim() != 1)
    refuse(PyExc_TypeError, subject, expected,
           "dtype " + text_of(a.dtype()) + " of " + std::to_string(a.ndim()) + " dimensions");
  std::vector<std::int64_t> result =
      a.itemsize() == 4 ? widened<std::int32_t>(a) : widened<std::int64_t>(a);
  for (std::size_t i = 0; i < result.size(); ++i)
    if (result[i] < 0 || static_cast<std::uint64_t>(result[i]) >= limit)
      refuse(PyExc_IndexError, subject, "0 <= index < " + std::to_string(limit),
             std::to_string(result[i]) + " at position " + std::to_string(i));
  return result;
}

RowGradients gather_rows(const std::vector<std::int64_t>& numbers, std::size_t row_size,
                         const Array& values) {
  RowGradients gradients;
  gradients.row_size = row_size;
  // Stable: the gradients of one row are added in the order in which they came.
  std::vector<std::size_t> order(numbers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return numbers[a] < numbers[b]; });
  auto* const bytes = static_cast<std::byte*>(values.data);
  for (const std::size_t place : order) {
    const auto row = static_cast<std::size_t>(numbers[place]);
    if (gradients.rows.empty() || gradients.rows.back() != row) {
      gradients.rows.push_back(row);
      gradients.first.push_back(gradients.sets.size());
    }
    gradients.sets.push_back(
        {bytes + bytes_of(values.format, place * row_size), nullptr, values.format});
  }
  gradients.first.push_back(gradients.sets.size());
  return gradients;
}

CheckedRows<CheckedArray> check_rows(py::handle indices, py::handle rows, const CheckedArray& param,
                                     const std::string& name) {
  check_rows_unchanged(param, {"parameter", name});
  const py::array target = param.array();
  if (target.ndim() == 0 || (param.order & py::array::c_style) == 0)
    refuse_rows(param, {"parameter", name}, "step_rows");
  const auto limit = static_cast<std::size_t>(target.shape(0));
  const std::vector<std::int64_t> numbers = row_numbers(indices, limit, {"indices of", name});

  CheckedRows<CheckedArray> result;
  result.values = check_numbers(rows, {"rows of", name}, /*writeable=*/false);
  const py::array values = result.values.array();
  std::vector<py::ssize_t> shape(target.shape(), target.shape() + target.ndim());
  shape[0] = static_cast<py::ssize_t>(numbers.size());
  const bool same_shape =
      values.ndim() == target.ndim() && std::equal(shape.begin(), shape.end(), values.shape());
  const bool same_dtype = result.values.dtype == param.dtype;
  if (!same_dtype || !same_shape || (values.flags() & py::array::c_style) == 0)
    refuse(same_dtype ? PyExc_ValueError : PyExc_TypeError, {"rows of", name},
           text_of(target.dtype()) + " of shape " + text_of(py::tuple(py::cast(shape))) +
               " in C order",
           text_of(values.dtype()) + " of shape " + text_of(values.attr("shape")));

  result.gradients =
      gather_rows(numbers, limit == 0 ? 0 : param.size / limit, result.values.stored());
  return result;
}

}  // namespace fusedstep::bindings
