#include "fill.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "formats/codes.hpp"
#include "numeric/float_environment.hpp"
#include "plan.hpp"
#include "threads/parallel.hpp"

namespace fusedstep {
namespace {

struct Filling {
  const std::vector<FilledArray>& arrays;
  double value;
  Plan plan;
};

template <class T>
void fill_items(const Array& array, T value, std::size_t begin, std::size_t end) {
  T* const items = static_cast<T*>(array.data);
  std::fill(items + begin, items + end, value);
}

void fill_lines(void* context, std::size_t first, std::size_t last) {
  const Filling& filling = *static_cast<const Filling*>(context);
  filling.plan.visit(first, last, [&](std::size_t i, std::size_t begin, std::size_t end) {
    const auto& [to, size, from] = filling.arrays[i];
    if (from != nullptr && to.format == Format::bfloat16) {
      const auto* const numbers = static_cast<const float*>(from);
      std::transform(numbers + begin, numbers + end, static_cast<std::uint16_t*>(to.data) + begin,
                     [](float number) { return bfloat16_bits(number); });
      return;
    }
    if (from != nullptr) {
      const std::size_t at = bytes_of(to.format, begin);
      std::memcpy(static_cast<std::byte*>(to.data) + at, static_cast<const std::byte*>(from) + at,
                  bytes_of(to.format, end - begin));
      return;
    }
    switch (to.format) {
      case Format::float32:
        return fill_items(to, static_cast<float>(filling.value), begin, end);
      case Format::float64:
        return fill_items(to, filling.value, begin, end);
      case Format::bfloat16:
        return fill_items(to, bfloat16_bits(static_cast<float>(filling.value)), begin, end);
      default:
        return;
    }
  });
}

}  // namespace

void fill(const std::vector<FilledArray>& arrays, double value) {
  const FloatEnvironment ours;
  Filling filling{arrays, value, {}};
  std::vector<Plan::Tensor> tensors;
  for (const auto& [to, size, from] : arrays) {
    const std::size_t bytes = bytes_of(to.format, size);
    tensors.push_back({{to.data, bytes}, bytes_of(to.format, 1), bytes});
  }
  filling.plan.build(tensors);
  const std::size_t bytes = filling.plan.bytes();
  parallel_run({useful_threads(bytes, thread_limit()), false},
               {filling.plan.lines(), bytes, fill_lines, &filling, /*more=*/false});
}

}  // namespace fusedstep
