#include "fill.hpp"

#include <algorithm>
#include <cstring>

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
void fill_items(void* array, double value, std::size_t begin, std::size_t end) {
  T* const items = static_cast<T*>(array);
  std::fill(items + begin, items + end, T(value));
}

void fill_lines(void* context, std::size_t first, std::size_t last) {
  const Filling& filling = *static_cast<const Filling*>(context);
  filling.plan.visit(first, last, [&](std::size_t i, std::size_t begin, std::size_t end) {
    const FilledArray& array = filling.arrays[i];
    void* const to = const_cast<void*>(array.extent.address);
    if (array.from != nullptr) {
      const std::size_t item = item_size(array.dtype);
      std::memcpy(static_cast<std::byte*>(to) + begin * item,
                  static_cast<const std::byte*>(array.from) + begin * item, (end - begin) * item);
    } else if (array.dtype == DType::float32) {
      fill_items<float>(to, filling.value, begin, end);
    } else {
      fill_items<double>(to, filling.value, begin, end);
    }
  });
}

}  // namespace

void fill(const std::vector<FilledArray>& arrays, double value) {
  const FloatEnvironment ours;
  Filling filling{arrays, value, {}};
  std::vector<Plan::Tensor> tensors;
  for (const FilledArray& array : arrays)
    tensors.push_back({array.extent, item_size(array.dtype), 1});
  filling.plan.build(tensors);
  const std::size_t bytes = filling.plan.bytes();
  parallel_run({useful_threads(bytes, thread_limit()), false},
               {filling.plan.lines(), bytes, fill_lines, &filling, /*more=*/false});
}

}  // namespace fusedstep
