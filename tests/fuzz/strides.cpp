// Shapes and strides of every kind against a count of all elements, and with numbers of any size,
// of which only undefined behaviour is asked.
#include "bindings/strides.hpp"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <numeric>

#include "require.hpp"

using namespace fusedstep::bindings;

namespace {

// The place of every element, in C order or with the first axis fastest.
Sizes places(const Sizes& shape, const Sizes& strides, bool fortran = false) {
  Sizes result{0};
  for (std::size_t k = shape.size(); k-- > 0;) {
    const std::size_t axis = fortran ? shape.size() - 1 - k : k;
    Sizes longer;
    for (Size i = 0; i < shape[axis]; ++i)
      for (const Size place : result) longer.push_back(i * strides[axis] + place);
    result = longer;
  }
  return result;
}

// Whether the places are 0, item, 2 item ...
bool are_in_a_row(const Sizes& places, std::size_t item) {
  for (std::size_t i = 0; i < places.size(); ++i)
    if (places[i] != Size(i * item)) return false;
  return true;
}

bool has_no_gaps(Sizes places, std::size_t item) {
  std::sort(places.begin(), places.end());
  return are_in_a_row(places, item);
}

std::size_t take_item(FuzzedDataProvider& data) {
  return data.PickValueInArray<std::size_t>({1, 2, 4, 8});
}

// Strides of which a good part is dense: in an order of the axes, with an error here and there.
Sizes take_strides(FuzzedDataProvider& data, const Sizes& shape, std::size_t item) {
  std::vector<std::size_t> axes(shape.size());
  std::iota(axes.begin(), axes.end(), 0);
  for (std::size_t k = axes.size(); k > 1; --k)
    std::swap(axes[k - 1], axes[data.ConsumeIntegralInRange<std::size_t>(0, k - 1)]);
  Sizes strides(shape.size());
  auto step = Size(item);
  for (const std::size_t axis : axes) {
    strides[axis] = step;
    step *= std::max<Size>(shape[axis], 1);
  }
  for (Size& stride : strides)
    if (data.ConsumeIntegralInRange(0, 7) == 0) stride = data.ConsumeIntegralInRange(-70, 70);
  return strides;
}

// The strides in whole elements, as DLPack has them, where they are such.
dlpack::Tensor tensor_of(Sizes& shape, Sizes* strides, std::size_t item) {
  dlpack::Tensor tensor{};
  tensor.ndim = std::int32_t(shape.size());
  tensor.code = dlpack::kFloat;
  tensor.bits = std::uint8_t(8 * item);
  tensor.lanes = 1;
  tensor.shape = reinterpret_cast<std::int64_t*>(shape.data());
  tensor.strides = strides == nullptr ? nullptr : reinterpret_cast<std::int64_t*>(strides->data());
  return tensor;
}

void small(FuzzedDataProvider& data) {
  Sizes shape(data.ConsumeIntegralInRange<std::size_t>(0, 5));
  for (Size& length : shape) length = data.ConsumeIntegralInRange(data.ConsumeBool() ? 0 : 1, 4);
  const std::size_t item = take_item(data), other_item = take_item(data);
  const Sizes strides = take_strides(data, shape, item);
  const Sizes at = places(shape, strides);

  REQUIRE(is_dense(shape.data(), strides.data(), shape.size(), item) == has_no_gaps(at, item));
  const int order = order_of(shape, strides, item);
  REQUIRE(((order & kC) != 0) == are_in_a_row(at, item));
  REQUIRE(((order & kFortran) != 0) == are_in_a_row(places(shape, strides, true), item));
  REQUIRE(are_in_a_row(places(shape, c_strides(shape, item)), item));

  const Sizes dense = dense_strides(shape, strides, item);
  const Sizes dense_at = places(shape, dense);
  REQUIRE(has_no_gaps(dense_at, item));
  if (has_no_gaps(at, item)) REQUIRE(dense_at == at);

  const Sizes others = dense_strides(shape, take_strides(data, shape, other_item), other_item);
  const Sizes others_at = places(shape, others);
  bool alike = true;
  for (std::size_t i = 0; i < at.size(); ++i)
    alike = alike && at[i] * Size(other_item) == others_at[i] * Size(item);
  REQUIRE(are_alike(shape, strides, item, others, other_item) == alike);

  Sizes lengths = shape, in_elements(shape.size());
  for (std::size_t i = 0; i < shape.size(); ++i)
    in_elements[i] =
        data.ConsumeBool() ? data.ConsumeIntegralInRange(-9, 9) : others[i] / Size(other_item);
  Sizes* const given = data.ConsumeBool() ? &in_elements : nullptr;
  const dlpack::Tensor tensor = tensor_of(lengths, given, item);
  const Sizes read = dlpack::strides_of(tensor, shape, item);
  REQUIRE(dlpack::has_form(tensor, dlpack::kFloat, item, shape.data(), strides.data(),
                           shape.size()) == (places(shape, read) == at));
  REQUIRE(!dlpack::has_form(tensor, dlpack::kInt, item, shape.data(), read.data(), shape.size()));
  lengths.push_back(1);
  REQUIRE(!dlpack::has_form(tensor, dlpack::kFloat, item, lengths.data(), read.data(),
                            shape.size() + 1));
}

void large(FuzzedDataProvider& data) {
  const auto ndim = data.ConsumeIntegralInRange<std::size_t>(0, 6);
  Sizes shape(ndim), strides(ndim), others(ndim);
  for (Size& length : shape) length = data.ConsumeIntegral<Size>() & PTRDIFF_MAX;
  for (std::size_t i = 0; i < ndim; ++i) {
    if (data.ConsumeBool()) shape[i] &= 1;
    strides[i] = data.ConsumeIntegral<Size>();
    others[i] = data.ConsumeIntegral<Size>();
  }
  const std::size_t item = take_item(data), other_item = take_item(data);
  Sizes lengths = shape;
  const dlpack::Tensor tensor = tensor_of(lengths, data.ConsumeBool() ? &others : nullptr, item);
  dlpack::strides_of(tensor, shape, item);
  dlpack::has_form(tensor, dlpack::kFloat, item, shape.data(), strides.data(), ndim);
  is_channels_last(shape, strides, item);
  c_strides(shape, item);
  dense_strides(shape, strides, item);
  are_alike(shape, strides, item, others, other_item);
  order_of(shape, strides, item);
  if (!is_dense(shape.data(), strides.data(), ndim, item)) return;
  // What seems dense has axes that are each as long as they say.
  const bool is_empty = std::count(shape.begin(), shape.end(), 0) != 0;
  for (std::size_t i = 0; i < ndim; ++i) REQUIRE(is_empty || shape[i] == 1 || strides[i] != 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  FuzzedDataProvider data(bytes, size);
  data.ConsumeBool() ? small(data) : large(data);
  return 0;
}
