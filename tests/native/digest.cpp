// Prints a digest of the bits of every rule, variant and dtype, bare and in a full step (unscaled,
// clipped by norm and value, averaged, copied), and of steps over narrow arrays: the same text on
// every instruction set (FUSEDSTEP_ISA) and, cross-compiled and run under qemu-user, on every
// architecture.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "engine/dispatch.hpp"
#include "engine/stepper.hpp"

using namespace fusedstep;

namespace {

constexpr std::size_t kSize = 1003;
constexpr std::size_t kRowSize = 59;  // 17 rows
constexpr int kSteps = 5;

// Numbers in [-1, 1), computed from integers.
template <class T>
std::vector<T> numbers(std::uint64_t seed) {
  std::vector<T> values(kSize);
  std::uint64_t x = seed * 2654435761u + 1;
  for (T& value : values) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    value = T(static_cast<std::int32_t>(x >> 32)) / T(2147483648.0);
  }
  return values;
}

template <class T>
void add(std::uint64_t& hash, const std::vector<T>& values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  for (const unsigned char byte : bytes) hash = (hash ^ byte) * 1099511628211u;
}

template <class T>
std::uint64_t digest(const RuleInfo& rule, unsigned variant, Format format, bool whole) {
  std::vector<T> param = numbers<T>(1), gradient;
  std::vector<std::vector<T>> states(kMaxStates, std::vector<T>(kSize, T(0)));
  Stepper stepper(rule);
  Group group;
  group.variant = variant;
  group.weight_decay = 0.01;
  for (double& scalar : group.scalars) scalar = 0.1;
  std::vector<T> average = numbers<T>(7);
  std::vector<std::uint16_t> copy(kSize, 0);
  if (whole) {
    group.max_norm = 0.5;
    group.max_value = 0.02;
    stepper.policy().ema_decay = 0.9;
  }
  stepper.groups().push_back(group);
  Tensor tensor{"p", {}, kSize};
  tensor.view.param = {param.data(), nullptr, format};
  if (rule.rowwise) tensor.view.row_size = kRowSize;
  for (std::size_t k = 0; k < kMaxStates; ++k)
    tensor.view.state[k] = {states[k].data(), nullptr, format};
  if (whole) {
    tensor.view.average = {average.data(), nullptr, format};
    tensor.view.copy = {copy.data(), nullptr, Format::bfloat16};
  }
  stepper.add(tensor);
  for (int step = 0; step < kSteps; ++step) {
    gradient = numbers<T>(std::uint64_t(step) + 2);
    const Array set{gradient.data(), nullptr, format};
    stepper.prepare({&set, 1, nullptr, 1.0, {whole ? 3.0 : 1.0}, false, /*mixed=*/false});
    stepper.run();
  }
  std::uint64_t hash = 14695981039346656037u;
  add(hash, param);
  for (const std::vector<T>& state : states) add(hash, state);
  add(hash, average);
  add(hash, copy);
  return hash;
}

// How a tensor is stored, and its gradients.
struct Mode {
  const char* name;
  Format param, gradient;
  Format states;  // float32, bfloat16, or signed8 for 8 bits
  Rounding rounding = Rounding::nearest;
  Format correction = Format::float32;  // float32: none
};
constexpr Mode kModes[] = {
    {"state-bf16", Format::float32, Format::float32, Format::bfloat16},
    {"state-8bit", Format::float32, Format::bfloat16, Format::signed8},
    {"nearest-8bit", Format::bfloat16, Format::bfloat16, Format::signed8},
    {"stochastic-bf16", Format::bfloat16, Format::bfloat16, Format::bfloat16, Rounding::stochastic},
    {"kahan", Format::bfloat16, Format::float32, Format::float32, Rounding::kahan,
     Format::bfloat16},
    {"split-32", Format::bfloat16, Format::bfloat16, Format::bfloat16, Rounding::split,
     Format::correction16},
    {"split-24-8bit", Format::bfloat16, Format::float16, Format::signed8, Rounding::split,
     Format::correction8},
    {"float16", Format::float16, Format::float16, Format::bfloat16, Rounding::stochastic},
    {"float16-split-24", Format::float16, Format::float32, Format::float32, Rounding::split,
     Format::correction8},
};

// An array of these numbers, or of zeros.
struct Stored {
  std::vector<unsigned char> bytes;
  std::vector<float> scales;
  Array array;

  explicit Stored(Format format, const std::vector<float>& values = {})
      : bytes(bytes_of(format, kSize)), scales(scales_of(format, kSize)) {
    array = {bytes.data(), scales.empty() ? nullptr : scales.data(), format};
    using Word = std::uint32_t;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Word code = format == Format::float32 ? Words<Word>::as_bits(values[i])
                        : format == Format::float16
                            ? encode<Float16Codec, Word>(values[i], ToNearest{})
                            : encode<Bfloat16Codec, Word>(values[i], ToNearest{});
      std::memcpy(&bytes[bytes_of(format, i)], &code, bytes_of(format, 1));
    }
  }
  void add_to(std::uint64_t& hash) const {
    add(hash, bytes);
    add(hash, scales);
  }
};

Format state_format(Content content, Format narrowest) {
  if (content == Content::exact || narrowest == Format::float32) return Format::float32;
  if (content == Content::number || narrowest == Format::bfloat16) return Format::bfloat16;
  return content == Content::average ? Format::signed8 : Format::unsigned8;
}

std::uint64_t digest(const RuleInfo& rule, unsigned variant, const Mode& mode, bool whole) {
  Stepper stepper(rule);
  Group group;
  group.variant = variant;
  for (double& scalar : group.scalars) scalar = 0.1;
  group.rounding = mode.rounding;
  stepper.policy().seed = 5;
  if (whole) {
    group.max_norm = 0.5;
    stepper.policy().ema_decay = 0.9;
  }
  stepper.groups().push_back(group);
  Tensor tensor{"p", {}, kSize};
  std::vector<Stored> arrays;
  arrays.reserve(kMaxStates + 3);  // addresses are kept
  const auto store = [&](Format format, const std::vector<float>& values = {}) {
    return arrays.emplace_back(format, values).array;
  };
  tensor.view.param = store(mode.param, numbers<float>(1));
  if (rule.rowwise) tensor.view.row_size = kRowSize;
  for (std::size_t k = 0; k < rule.states[variant].size(); ++k) {
    const State& state = rule.states[variant].state[k];
    if (!state.used) continue;
    const Format format = rule.rowwise ? Format::float32 : state_format(state.content, mode.states);
    tensor.view.state[k] = store(format);
  }
  if (mode.correction != Format::float32) tensor.view.correction = store(mode.correction);
  tensor.view.rounding = mode.rounding;
  if (whole) tensor.view.average = store(Format::float32, numbers<float>(7));
  stepper.add(tensor);
  for (int step = 0; step < kSteps; ++step) {
    const Stored gradient(mode.gradient, numbers<float>(std::uint64_t(step) + 2));
    stepper.prepare({&gradient.array});
    stepper.run();
  }
  std::uint64_t hash = 14695981039346656037u;
  for (const Stored& array : arrays) array.add_to(hash);
  return hash;
}

}  // namespace

int main() {
  std::fprintf(stderr, "%s\n", current_table().isa);
  for (const RuleInfo& rule : registry())
    for (unsigned variant = 0; variant < rule.variants; ++variant)
      for (const bool whole : {false, true})
        std::printf(
            "%s %u %d %016llx %016llx\n", rule.name, variant, whole,
            static_cast<unsigned long long>(digest<float>(rule, variant, Format::float32, whole)),
            static_cast<unsigned long long>(digest<double>(rule, variant, Format::float64, whole)));
  for (const RuleInfo& rule : registry())
    for (unsigned variant = 0; variant < rule.variants; ++variant)
      for (const Mode& mode : kModes)
        std::printf("%s %u %s %016llx %016llx\n", rule.name, variant, mode.name,
                    static_cast<unsigned long long>(digest(rule, variant, mode, false)),
                    static_cast<unsigned long long>(digest(rule, variant, mode, true)));
}
