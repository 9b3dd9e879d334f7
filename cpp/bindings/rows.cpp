#include "rows.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace fusedstep::bindings {
namespace {

template <class Integer>
std::vector<std::int64_t> widened(const Description& indices) {
  std::vector<std::int64_t> result(indices.size());
  const auto* const bytes = static_cast<const std::byte*>(indices.data);
  for (std::size_t i = 0; i < result.size(); ++i) {
    Integer value;
    std::memcpy(&value, bytes + std::ptrdiff_t(i) * indices.strides[0], sizeof value);
    result[i] = value;
  }
  return result;
}

}  // namespace

void check_indices(const Description& indices, const Subject& subject) {
  const bool is_integer = indices.dtype == "int32" || indices.dtype == "int64";
  if (!is_integer || !indices.is_native || indices.shape.size() != 1)
    refuse(PyExc_TypeError, subject, kIndices,
           "dtype " + indices.dtype_text() + " of " + std::to_string(indices.shape.size()) +
               " dimensions");
}

std::vector<std::int64_t> row_numbers(const Description& indices, std::size_t limit,
                                      const Subject& subject) {
  std::vector<std::int64_t> result =
      indices.dtype == "int32" ? widened<std::int32_t>(indices) : widened<std::int64_t>(indices);
  for (std::size_t i = 0; i < result.size(); ++i)
    if (result[i] < 0 || static_cast<std::uint64_t>(result[i]) >= limit)
      refuse(PyExc_IndexError, subject, "0 <= index < " + std::to_string(limit),
             std::to_string(result[i]) + " at position " + std::to_string(i));
  return result;
}

void check_row_values(const Model& values, const Model& param, std::size_t count,
                      const Subject& subject) {
  Sizes shape = param.shape;
  shape[0] = static_cast<py::ssize_t>(count);
  const bool same_dtype = values.format == param.format;
  if (!same_dtype || values.shape != shape || (values.order & kC) == 0)
    refuse(same_dtype ? PyExc_ValueError : PyExc_TypeError, subject,
           name_of(param.format) + (" of shape " + tuple_text(shape)) + " in C order",
           name_of(values.format) + (" of shape " + tuple_text(values.shape)));
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
  gradients.sets.reserve(order.size());
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

}  // namespace fusedstep::bindings
