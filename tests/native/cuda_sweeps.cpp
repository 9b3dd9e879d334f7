// Random steps on the device (emulated by cuda_runtime.cpp) and on the CPU: random rules, variants,
// formats, step options, and lists of tensors of odd sizes and offsets. The device must write what
// the CPU writes, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "cuda/reduction.hpp"
#include "cuda/stepper.hpp"
#include "cuda_fixture.hpp"
#include "engine/stepper.hpp"
#include "numeric/reduce.hpp"

using namespace fusedstep;

namespace {

Group random_group(const RuleInfo& rule) {
  Group group;
  group.variant = unsigned(below(rule.variants));
  for (double& scalar : group.scalars) scalar = uniform(0.05, 0.95);
  group.maximize = once_in(3);
  if (once_in(2)) group.weight_decay = 0.01;
  if (once_in(3)) group.max_norm = uniform(0.1, 10);
  if (once_in(3)) group.max_value = uniform(0.1, 1);
  return group;
}

// A gradient for both, with infinities or NaNs if `nonfinite`.
std::size_t add_gradient(Mirrored& gradients, Format format, std::size_t size, bool nonfinite) {
  const std::size_t at = gradients.add(size, bytes_of(format, 1));
  fill(gradients.host[at], format, -1, 1, true);
  if (nonfinite && size != 0 && once_in(3)) {
    Memory bad(1, bytes_of(format, 1));
    const double number = once_in(2) ? HUGE_VAL : std::nan("");
    fill(bad, format, number, number, false);
    std::memcpy(gradients.host[at].data() + bytes_of(format, below(size)), bad.data(), bad.bytes());
  }
  gradients.mirror(at);
  return at;
}

// Runs both prepared engines; whether they report the same.
bool run_both(Stepper& host, cuda::Stepper& device, const bool& applied, const double& norm) {
  const StepResult expected = host.run(), result = device.run();
  bool same = applied == expected.applied;
  if (expected.grad_norm) {
    const double other = *expected.grad_norm;
    same = same && (norm == other || (norm != norm && other != other));
  }
  if (host.policy().error_if_nonfinite)
    same = same && result.applied == expected.applied && result.nonfinite == expected.nonfinite;
  return same;
}

const double kScales[] = {1.0, 1.0, 1024.0, 0.3, 3.0};

bool step(Fixture& fixture, Stepper& host, cuda::Stepper& device, bool narrow) {
  const std::size_t count = fixture.host.size(), sets = once_in(3) ? 1 + below(6) : 1;
  const bool zero = once_in(4), nonfinite = once_in(6);
  Mirrored gradients;
  std::vector<Array> host_sets(count * sets), device_sets(count * sets);
  for (std::size_t i = 0; i < count; ++i) {
    if (once_in(5)) continue;
    for (std::size_t k = 0; k < sets; ++k) {
      const Format format = gradient_format(fixture.host[i].format(), narrow);
      const std::size_t at = add_gradient(gradients, format, fixture.host[i].size, nonfinite);
      host_sets[i * sets + k] = {gradients.host[at].data(), nullptr, format};
      device_sets[i * sets + k] = {gradients.device[at].data(), nullptr, format};
    }
  }
  std::vector<double> weights(sets);
  for (double& weight : weights) weight = uniform(0, 2);
  const bool weighted = sets > 1 || once_in(4);
  const double scale = kScales[below(5)];
  const double divisor = weighted && once_in(2) ? 2.7 : 1.0;
  const auto call = [&](const std::vector<Array>& arrays, Scale by) {
    return GradientSets{arrays.data(), sets, weighted ? weights.data() : nullptr,
                        divisor,       by,   zero};
  };
  bool applied = true;
  double norm = -1.0;
  double there = scale;
  device.report_to(&applied, &norm);
  host.prepare(call(host_sets, {scale}));
  device.prepare(call(device_sets,
                      once_in(2) ? Scale{scale} : Scale{1.0, {&there, nullptr, Format::float64}}));
  bool same = run_both(host, device, applied, norm);
  for (std::size_t at = 0; at < gradients.host.size(); ++at)
    same = same && gradients.host[at].equals(gradients.device[at]);
  return same;
}

// Gradients for both of some rows of a tensor, if any.
bool add_rows(Mirrored& gradients, const Tensor& tensor, bool rowwise, bool narrow,
              RowGradients& mine, RowGradients& theirs) {
  std::size_t size = std::max(tensor.view.row_size, tensor.view.block);
  if (!rowwise)
    for (const std::size_t divisor : {2, 3, 64, 384, 2048})
      if (tensor.size % divisor == 0 && divisor % tensor.view.block == 0 && once_in(2))
        size = divisor;
  if (tensor.size % size != 0) return false;
  mine.row_size = size;
  const bool in_order = once_in(2);
  std::size_t count = 0;
  for (std::size_t row = 0; row < std::min<std::size_t>(tensor.size / size, 40); ++row) {
    if (!once_in(3)) continue;
    mine.rows.push_back(row);
    mine.first.push_back(count);
    count += in_order ? 1 : 1 + below(3);
  }
  if (mine.rows.empty()) return false;
  mine.first.push_back(count);
  if (in_order) mine.first.clear();
  // Row by row from the last one on.
  for (std::size_t k = 0; k < count && !in_order; ++k) mine.gradients.push_back(count - 1 - k);
  const Format format = gradient_format(tensor.format(), narrow);
  const std::size_t at = add_gradient(gradients, format, count * size, once_in(6));
  theirs = mine;
  mine.values = {gradients.host[at].data(), nullptr, format};
  theirs.values = {gradients.device[at].data(), nullptr, format};
  return true;
}

// A step over rows of some tensors and, mostly, over whole others.
bool step_jointly(Fixture& fixture, Stepper& host, cuda::Stepper& device, bool narrow) {
  const std::size_t count = fixture.host.size();
  JointGradients mine, theirs;
  Mirrored gradients;
  std::vector<Array> host_sets(count), device_sets(count);
  const bool only_rows = once_in(3);
  for (std::size_t i = 0; i < count; ++i) {
    const Tensor& tensor = fixture.host[i];
    RowGradients table, other;
    table.tensor = i;
    if (once_in(3) && !host.rule().layerwise && !host.is_frozen(i)) {
      if (!add_rows(gradients, tensor, host.rule().rowwise, narrow, table, other)) continue;
      mine.tables.push_back(std::move(table));
      theirs.tables.push_back(std::move(other));
    } else if (!only_rows && !once_in(4)) {
      const Format format = gradient_format(tensor.format(), narrow);
      const std::size_t at = add_gradient(gradients, format, tensor.size, once_in(9));
      host_sets[i] = {gradients.host[at].data(), nullptr, format};
      device_sets[i] = {gradients.device[at].data(), nullptr, format};
    }
  }
  mine.sets = only_rows ? nullptr : host_sets.data();
  theirs.sets = only_rows ? nullptr : device_sets.data();
  mine.scale = theirs.scale = {kScales[below(5)]};
  mine.advances = theirs.advances = once_in(2);
  bool applied = true;
  double norm = -1.0;
  device.report_to(&applied, &norm);
  host.prepare(mine);
  device.prepare(theirs);
  return run_both(host, device, applied, norm);
}

bool is_nan(float x) { return x != x; }
bool is_nan(double x) { return x != x; }
bool is_nan(std::uint16_t bfloat16) { return (bfloat16 & 0x7fffu) > 0x7f80u; }

// NaNs are compared by position.
template <class T>
bool same_numbers(Memory& a, Memory& b) {
  for (std::size_t i = 0; i < a.bytes() / sizeof(T); ++i) {
    T x, y;
    std::memcpy(&x, a.data() + i * sizeof(T), sizeof x);
    std::memcpy(&y, b.data() + i * sizeof(T), sizeof y);
    if (std::memcmp(&x, &y, sizeof x) != 0 && !(is_nan(x) && is_nan(y))) return false;
  }
  return true;
}

bool run_once(const RuleInfo& rule) {
  common_offset = once_in(2) ? -1 : int(below(16));
  Stepper host(rule);
  cuda::Stepper device(rule);
  const std::size_t group_count = 1 + below(3);
  for (std::size_t g = 0; g < group_count; ++g) host.groups().push_back(random_group(rule));
  device.groups() = host.groups();
  Policy policy;
  policy.skip_nonfinite = once_in(3);
  policy.error_if_nonfinite = !policy.skip_nonfinite && once_in(4);
  policy.clip_per_group = once_in(2);
  policy.seed = random_bits();
  const bool average = once_in(3);
  policy.ema_decay = average ? 0.9 : 0.0;
  host.policy() = device.policy() = policy;
  Fixture fixture;
  const bool narrow = !once_in(3);
  const Modes modes{narrow && once_in(2), narrow && once_in(2), narrow && once_in(2)};
  const bool many = once_in(12), large = !many && once_in(60);  // two levels; three levels
  const std::size_t count = many ? 2100 : 1 + below(12);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t huge = kReduceBlock * kReduceBlock + 3 * kReduceBlock + below(9);
    add_tensor(fixture, rule, host.groups(), average,
               many              ? below(9)
               : large && i == 0 ? huge
                                 : random_size(),
               modes);
  }
  for (std::size_t i = 0; i < count; ++i) {
    host.add(fixture.host[i]);
    device.add(fixture.device[i]);
  }
  for (int number = 0; number < 4; ++number) {
    if (number == 2) {
      host.groups()[0].scalars[0] = device.groups()[0].scalars[0] = 0.5;
      device.publish_groups();
      const std::size_t frozen = below(count);
      host.freeze(frozen, true);
      device.freeze(frozen, true);
    }
    if (!step(fixture, host, device, modes.gradients)) return false;
    if (!step_jointly(fixture, host, device, modes.gradients)) return false;
  }
  bool same = host.step_count() == device.step_count() && host.steps() == device.steps();
  for (std::size_t at = 1; at < fixture.arrays.host.size(); ++at) {
    Memory &a = fixture.arrays.host[at], &b = fixture.arrays.device[at];
    same = same && (a.item() == 1   ? a.equals(b)
                    : a.item() == 2 ? same_numbers<std::uint16_t>(a, b)
                    : a.item() == 4 ? same_numbers<float>(a, b)
                                    : same_numbers<double>(a, b));
  }
  return same;
}

// block_tree_sum(), of up to three levels, against tree_sum().
bool trees_agree() {
  bool same = true;
  const std::size_t whole = kReduceBlock * kReduceBlock;
  for (const std::size_t count :
       {std::size_t{0}, std::size_t{1}, kReduceBlock, kReduceBlock + 1, whole, whole + 5000}) {
    std::vector<double> numbers(count);
    for (double& number : numbers) number = uniform(0, 1);
    std::vector<double> elsewhere(reduce_blocks(count)), in_place = numbers;
    const auto sum = [&](std::vector<double>& values, std::vector<double>& scratch) {
      cuda::Lanes lanes[1];
      double result = -1.0;
      cuda::block_tree_sum(
          cuda::Block{0, 1}, lanes, count, [&](std::uint64_t i) { return values[i]; },
          scratch.data(), &result);
      return result;
    };
    const double first = sum(numbers, elsewhere), second = sum(in_place, in_place);
    const double expected = tree_sum(numbers.data(), count);
    same = same && first == expected && second == expected;
  }
  return same;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  int failures = trees_agree() ? 0 : 1;
  if (failures != 0) std::printf("a tree differs\n");
  for (const RuleInfo& rule : registry())
    for (int round = 0; round < rounds; ++round)
      if (!run_once(rule)) {
        std::printf("%s, round %d: the device differs\n", rule.name, round);
        ++failures;
      }
  std::printf("%zu steps\n", registry().size() * std::size_t(rounds) * 4);
  return failures != 0;
}
