// Random tensors for cuda_sweeps.cpp, in two copies: the CPU's and the device's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/roster.hpp"

using namespace fusedstep;

namespace {

std::mt19937_64 random_bits(20261122);

std::size_t below(std::size_t n) { return random_bits() % n; }
bool once_in(std::size_t n) { return below(n) == 0; }
double uniform(double low, double high) {
  return low + (high - low) * (double(random_bits() >> 11) * 0x1p-53);
}

// Offset of all arrays of a round, or -1 for random ones. Packs need arrays of equal alignment.
int common_offset = -1;

// An array that starts at any element of a 64-byte line.
class Memory {
 public:
  Memory(std::size_t size, std::size_t item)
      : bytes_((size + 16) * item),
        offset_((common_offset < 0 ? below(16) : std::size_t(common_offset)) * item),
        used_(size * item),
        item_(item) {}
  std::byte* data() { return bytes_.data() + offset_; }
  const void* address() { return data(); }
  std::size_t bytes() const { return used_; }
  std::size_t item() const { return item_; }
  void copy(Memory& other) { std::memcpy(data(), other.data(), used_); }
  bool equals(Memory& other) { return std::memcmp(data(), other.data(), used_) == 0; }

  template <class T>
  void fill(double low, double high, bool awkward) {
    for (std::size_t i = 0; i < used_ / sizeof(T); ++i) {
      T value = T(uniform(low, high));
      if (awkward && once_in(20)) value = awkward_number<T>();
      std::memcpy(data() + i * sizeof(T), &value, sizeof value);
    }
  }

 private:
  template <class T>
  static T awkward_number() {
    using Limits = std::numeric_limits<T>;
    const T numbers[] = {T(0), -T(0), Limits::denorm_min(), -Limits::min() / T(3), T(1)};
    return numbers[below(5)];
  }

  std::vector<std::byte> bytes_;
  std::size_t offset_, used_, item_;
};

void fill(Memory& array, Format format, double low, double high, bool awkward) {
  switch (format) {
    case Format::float32:
      return array.fill<float>(low, high, awkward);
    case Format::float64:
      return array.fill<double>(low, high, awkward);
    case Format::bfloat16:
    case Format::float16:
      for (std::size_t i = 0; i < array.bytes() / 2; ++i) {
        const auto number = float(awkward && once_in(20) ? 0.0 : uniform(low, high));
        const auto code = std::uint16_t(
            format == Format::float16 ? encode<Float16Codec, std::uint32_t>(number, ToNearest{})
                                      : encode<Bfloat16Codec, std::uint32_t>(number, ToNearest{}));
        std::memcpy(array.data() + 2 * i, &code, sizeof code);
      }
      return;
    default:  // codes are of any bits
      for (std::size_t i = 0; i < array.bytes(); ++i) array.data()[i] = std::byte(below(256));
  }
}

// Arrays in two copies, the CPU's and the device's.
struct Mirrored {
  std::deque<Memory> host, device;
  std::size_t add(std::size_t size, std::size_t item) {
    host.emplace_back(size, item);
    device.emplace_back(size, item);
    return host.size() - 1;
  }
  void mirror(std::size_t at) { device[at].copy(host[at]); }
};

struct Fixture {
  Mirrored arrays;
  std::vector<Tensor> host, device;
};

std::size_t random_size() {
  const std::size_t choices[] = {below(4), below(70), below(5000), 2048 * (1 + below(3)),
                                 2048 * 9 + below(100)};
  return choices[below(5)];
}

// How narrow the tensors of a round may be.
struct Modes {
  bool params, states, gradients;
};

Format random_param_format(const Modes& modes) {
  if (modes.params && !once_in(4)) return once_in(2) ? Format::bfloat16 : Format::float16;
  return once_in(2) ? Format::float32 : Format::float64;
}

Format state_format(Content content, unsigned width) {
  if (width == 16 && content != Content::exact) return Format::bfloat16;
  if (width == 8 && content == Content::average) return Format::signed8;
  if (width == 8 && content == Content::square) return Format::unsigned8;
  if (width == 8 && content == Content::number) return Format::bfloat16;
  return Format::float32;
}

// A format of gradients, for parameters of this one.
Format gradient_format(Format param, bool narrow) {
  const Format choices[] = {Format::float32, Format::bfloat16, Format::float16};
  if (compute_of(param) == Compute::float64) return param;
  return narrow ? choices[below(3)] : Format::float32;
}

void add_tensor(Fixture& fixture, const RuleInfo& rule, const std::vector<Group>& groups,
                bool average, std::size_t size, const Modes& modes) {
  const Format format = random_param_format(modes);
  const std::size_t group = below(groups.size());
  const Format computed =
      compute_of(format) == Compute::float64 ? Format::float64 : Format::float32;
  std::size_t row_size = 1, rows = size;
  if (rule.rowwise) {
    const std::size_t choices[] = {1, 7, 64, 2048, 5000};
    row_size = choices[below(5)];
    rows = size = size / row_size;
    size *= row_size;
  }
  // Indices of arrays; 0 means none.
  struct Stored {
    std::size_t codes = 0, scales = 0;
    Format format = Format::float32;
  };
  const auto numbers = [&](Format stored, double low, double high, std::size_t count) {
    const std::size_t at = fixture.arrays.add(count, bytes_of(stored, 1));
    fill(fixture.arrays.host[at], stored, low, high, true);
    fixture.arrays.mirror(at);
    return at;
  };
  const auto stored = [&](Format in, double low, double high, std::size_t count) {
    Stored result{numbers(in, low, high, count), 0, in};
    if (const std::size_t scales = scales_of(in, count); scales != 0) {
      result.scales = fixture.arrays.add(scales, sizeof(float));
      for (std::size_t k = 0; k < scales; ++k) {
        const auto scale = float(std::ldexp(1.0, int(below(20)) - 10));
        std::memcpy(fixture.arrays.host[result.scales].data() + 4 * k, &scale, sizeof scale);
      }
      fixture.arrays.mirror(result.scales);
    }
    return result;
  };
  Stored param, state[kMaxStates], mean, copy, correction;
  if (fixture.arrays.host.empty()) fixture.arrays.add(0, 1);
  param = stored(format, -1, 1, size);
  const unsigned width =
      !modes.states || computed == Format::float64 || rule.rowwise ? 32 : (once_in(3) ? 16 : 8);
  const States& states = rule.states[groups[group].variant];
  for (std::size_t k = 0; k < states.size(); ++k) {
    if (!states.state[k].used) continue;
    const Format narrow = state_format(states.state[k].content, width);
    state[k] = stored(computed == Format::float64 ? computed : narrow, 0.01, 1, rows);
  }
  if (average) mean = stored(computed, -1, 1, size);
  if (format == Format::float32 && once_in(2))
    copy = {fixture.arrays.add(size, 2), 0, Format::bfloat16};
  Rounding rounding = Rounding::nearest;
  if (!is_native(format)) {
    rounding = Rounding(below(4));
    if (rounding == Rounding::kahan) correction = stored(format, -1e-4, 1e-4, size);
    if (rounding == Rounding::split) {
      const Format corrections[] = {Format::correction16, Format::correction8};
      correction = stored(corrections[below(2)], 0, 1, size);
    }
  }
  const auto tensor = [&](std::deque<Memory>& arrays) {
    const auto array = [&](const Stored& of) {
      return of.codes == 0
                 ? Array{}
                 : Array{arrays[of.codes].data(),
                         of.scales == 0
                             ? nullptr
                             : static_cast<float*>(static_cast<void*>(arrays[of.scales].data())),
                         of.format};
    };
    Tensor t{"t" + std::to_string(fixture.host.size()), {}, size, group};
    t.view.param = array(param);
    for (std::size_t k = 0; k < kMaxStates; ++k) t.view.state[k] = array(state[k]);
    t.view.average = array(mean);
    t.view.row_size = row_size;
    t.view.copy = array(copy);
    t.view.correction = array(correction);
    t.view.rounding = rounding;
    return t;
  };
  const Tensor on_host = tensor(fixture.arrays.host), there = tensor(fixture.arrays.device);
  fixture.host.push_back(on_host);
  fixture.device.push_back(there);
}

}  // namespace
