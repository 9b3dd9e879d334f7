#include "rows.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fusedstep::bindings {
namespace {

// The numbers, and the first that is out of range; negative ones count as large.
template <class Integer>
std::vector<std::size_t> widened(const Description& indices, std::size_t limit, std::size_t& bad) {
  std::vector<std::size_t> result(indices.size());
  const auto* const bytes = static_cast<const std::byte*>(indices.data);
  bool all_fit = true;
  for (std::size_t i = 0; i < result.size(); ++i) {
    Integer value;
    std::memcpy(&value, bytes + std::ptrdiff_t(i) * indices.strides[0], sizeof value);
    result[i] = static_cast<std::size_t>(std::int64_t{value});
    all_fit = all_fit && result[i] < limit;
  }
  const auto out = [&](std::size_t number) { return number >= limit; };
  bad = all_fit ? result.size()
                : std::size_t(std::find_if(result.begin(), result.end(), out) - result.begin());
  return result;
}

struct Named {
  std::size_t row, place;
};

// By row, stable: the gradients of one row are added in the order in which they came. By radix,
// digit by digit from the lowest.
void sort_by_row(std::vector<Named>& named, std::size_t limit) {
  const unsigned digit = named.size() < 1024 ? 8 : 11;  // bits; few rows: few counters
  std::vector<Named> sorted(named.size());
  std::vector<std::size_t> start(std::size_t{1} << digit);
  for (unsigned shift = 0; (limit - 1) >> shift != 0; shift += digit) {
    const auto digit_of = [&](const Named& one) { return one.row >> shift & (start.size() - 1); };
    std::fill(start.begin(), start.end(), 0);
    for (const Named& one : named) ++start[digit_of(one)];
    std::size_t before = 0;
    for (std::size_t& count : start) before += std::exchange(count, before);
    for (const Named& one : named) sorted[start[digit_of(one)]++] = one;
    named.swap(sorted);
  }
}

}  // namespace

void check_indices(const Description& indices, const Subject& subject) {
  const bool is_integer = indices.dtype == "int32" || indices.dtype == "int64";
  if (!is_integer || !indices.is_native || indices.shape.size() != 1)
    refuse(PyExc_TypeError, subject, kIndices,
           "dtype " + indices.dtype_text() + " of " + std::to_string(indices.shape.size()) +
               " dimensions");
}

std::vector<std::size_t> row_numbers(const Description& indices, std::size_t limit,
                                     const Subject& subject) {
  std::size_t bad = 0;
  std::vector<std::size_t> result = indices.dtype == "int32"
                                        ? widened<std::int32_t>(indices, limit, bad)
                                        : widened<std::int64_t>(indices, limit, bad);
  if (bad < result.size())
    refuse(PyExc_IndexError, subject, "0 <= index < " + std::to_string(limit),
           std::to_string(static_cast<std::int64_t>(result[bad])) + " at position " +
               std::to_string(bad));
  return result;
}

void check_row_values(const Model& values, const Model& param, std::size_t count,
                      const Subject& subject) {
  Sizes shape = param.shape;
  shape[0] = static_cast<py::ssize_t>(count);
  const Formats formats = Formats::numbers(compute_of(param.format));
  const bool is_of_them = formats.has(values.format);
  if (!is_of_them || values.shape != shape || (values.order & kC) == 0)
    refuse(is_of_them ? PyExc_ValueError : PyExc_TypeError, subject,
           formats_text(formats) + " of shape " + tuple_text(shape) + " in C order",
           name_of(values.format) + (" of shape " + tuple_text(values.shape)));
}

RowGradients gather_rows(std::vector<std::size_t> numbers, std::size_t limit) {
  RowGradients gradients;
  const auto falls = [](std::size_t a, std::size_t b) { return a >= b; };
  if (std::adjacent_find(numbers.begin(), numbers.end(), falls) == numbers.end()) {
    gradients.rows = std::move(numbers);
    return gradients;
  }
  std::vector<Named> named(numbers.size());
  for (std::size_t i = 0; i < named.size(); ++i) named[i] = {numbers[i], i};
  sort_by_row(named, limit);
  gradients.gradients.reserve(named.size());
  for (const auto& [row, place] : named) {
    if (gradients.rows.empty() || gradients.rows.back() != row) {
      gradients.rows.push_back(row);
      gradients.first.push_back(gradients.gradients.size());
    }
    gradients.gradients.push_back(place);
  }
  gradients.first.push_back(gradients.gradients.size());
  return gradients;
}

}  // namespace fusedstep::bindings
