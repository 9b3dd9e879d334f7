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

template <class From, class To, class Convert>
void convert(const FilledArray& array, std::size_t begin, std::size_t end, Convert function) {
  const auto* const from = static_cast<const From*>(array.from.data);
  std::transform(from + begin, from + end, static_cast<To*>(array.to.data) + begin, function);
}

template <class Codec>
std::uint16_t rounded(float number) {
  return std::uint16_t(encode<Codec, std::uint32_t>(number, ToNearest{}));
}
template <class Codec>
float widened(std::uint16_t code) {
  return Codec::decode(std::uint32_t{code});
}

template <class Codec>
void convert(const FilledArray& array, std::size_t begin, std::size_t end) {
  if (array.from.format == Format::float32)
    convert<float, std::uint16_t>(array, begin, end, rounded<Codec>);
  else
    convert<std::uint16_t, float>(array, begin, end, widened<Codec>);
}

void copy(const FilledArray& array, std::size_t begin, std::size_t end) {
  const auto& [to, size, from] = array;
  if (to.format == from.format) {
    const std::size_t at = bytes_of(to.format, begin);
    std::memcpy(static_cast<std::byte*>(to.data) + at,
                static_cast<const std::byte*>(from.data) + at, bytes_of(to.format, end - begin));
  } else {
    with_codec(from.format == Format::float32 ? to.format : from.format,
               [&](auto codec) { convert<decltype(codec)>(array, begin, end); });
  }
}

// The scale of a block that is filled with one number, and the code of that.
template <class Codec>
float scale_for(float number) {
  return block_scale(Codec::template magnitude<std::uint32_t>(number));
}
template <class Codec>
std::uint8_t code_for(float number) {
  const float inverse = inverse_scale(scale_for<Codec>(number));
  if (inverse == 0.0f) return 0;
  const std::uint32_t half = block_offset(0x80000000u);
  return std::uint8_t(Codec::template encode<std::uint32_t>(number, inverse, half));
}

void fill_one(const Array& to, double value, std::size_t begin, std::size_t end) {
  const auto number = static_cast<float>(value);
  switch (to.format) {
    case Format::float32:
      return fill_items(to, number, begin, end);
    case Format::float64:
      return fill_items(to, value, begin, end);
    case Format::bfloat16:
    case Format::float16:
      return with_codec(to.format, [&](auto codec) {
        fill_items(to, rounded<decltype(codec)>(number), begin, end);
      });
    case Format::signed8:
      return fill_items(to, code_for<Signed8Codec>(number), begin, end);
    case Format::unsigned8:
      return fill_items(to, code_for<Unsigned8Codec>(number), begin, end);
    case Format::correction16:
    case Format::correction8:
      return;  // of nothing
  }
}

void fill_scales(const FilledArray& array, double value) {
  const auto number = static_cast<float>(value);
  const auto& [to, size, from] = array;
  if (from || to.scales == nullptr) return;
  std::fill_n(to.scales, scales_of(to.format, size),
              to.format == Format::signed8 ? scale_for<Signed8Codec>(number)
                                           : scale_for<Unsigned8Codec>(number));
}

void fill_lines(void* context, std::size_t first, std::size_t last) {
  const Filling& filling = *static_cast<const Filling*>(context);
  filling.plan.visit(first, last, [&](std::size_t i, std::size_t begin, std::size_t end) {
    const FilledArray& array = filling.arrays[i];
    if (array.from)
      copy(array, begin, end);
    else
      fill_one(array.to, filling.value, begin, end);
  });
}

}  // namespace

void fill(const std::vector<FilledArray>& arrays, double value) {
  const FloatEnvironment ours;
  for (const FilledArray& array : arrays) fill_scales(array, value);
  Filling filling{arrays, value, {}};
  std::vector<Plan::Tensor> tensors;
  for (const FilledArray& array : arrays) {
    const Format format = array.to.format;
    const std::size_t bytes = bytes_of(format, array.size);
    tensors.push_back({{array.to.data, bytes}, bytes_of(format, 1), bytes});
  }
  filling.plan.build(tensors);
  const std::size_t bytes = filling.plan.bytes();
  parallel_run({useful_threads(bytes, thread_limit()), false},
               {filling.plan.lines(), bytes, fill_lines, &filling, /*more=*/false});
}

}  // namespace fusedstep
