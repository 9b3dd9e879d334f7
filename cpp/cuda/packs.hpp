// 16-byte vector accesses, and the peeling they need.
#pragma once

#include <cstddef>
#include <cstdint>

#include "numeric/host_device.hpp"

namespace fusedstep::cuda {

template <class T>
constexpr std::uint64_t kPack = 16 / sizeof(T);

template <class T, std::uint64_t Width>
struct alignas(Width * sizeof(T)) Pack {
  T at[Width];
};

// Element i of an array in device memory, which the compiler cannot infer for a pointer from a
// table.
template <class T>
FUSEDSTEP_HD T* element(T* array, std::uint64_t i) {
#if defined(__CUDA_ARCH__)
  __builtin_assume(__isGlobal(array + i));
#endif
  return array + i;
}

template <std::uint64_t Width, class T>
FUSEDSTEP_HD Pack<T, Width> load(const void* array, std::uint64_t i) {
  return *reinterpret_cast<const Pack<T, Width>*>(element(static_cast<const T*>(array), i));
}

template <std::uint64_t Width, class T>
FUSEDSTEP_HD void store(void* array, std::uint64_t i, const Pack<T, Width>& pack) {
  *reinterpret_cast<Pack<T, Width>*>(element(static_cast<T*>(array), i)) = pack;
}

// Number of elements before the first aligned pack.
FUSEDSTEP_HD std::uint64_t elements_to_pack(const void* array, std::uint64_t item,
                                            std::uint64_t width) {
  const std::uint64_t past = reinterpret_cast<std::uintptr_t>(array) / item % width;
  return (width - past) % width;
}

constexpr std::uint64_t kMisaligned = ~std::uint64_t{0};

// How the elements [begin, end) of a task are divided: aligned packs from `body` on, and single
// elements before and after them. `head` is elements_to_pack() of all its arrays, or kMisaligned if
// they differ; `begin` is a multiple of the width.
struct Deal {
  std::uint64_t begin, body, packs, tail, singles;

  FUSEDSTEP_HD Deal(std::uint64_t from, std::uint64_t end, std::uint64_t head, std::uint64_t width)
      : begin(from),
        body(head < end - from ? from + head : end),
        packs((end - body) / width),
        tail(body + packs * width),
        singles(body - from + (end - tail)) {}

  FUSEDSTEP_HD std::uint64_t single(std::uint64_t k) const {
    return k < body - begin ? begin + k : tail + (k - (body - begin));
  }
};

}  // namespace fusedstep::cuda
