#include "workload.hpp"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>

#include "engine/plan.hpp"
#include "threads/parallel.hpp"

namespace fusedstep::bench {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kSample = 4096;  // values per array

std::size_t round_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

// Offsets of the parameters, then of the gradients, then the total size.
std::vector<std::size_t> lay_out(const Case& c) {
  std::vector<std::size_t> offsets;
  std::size_t end = 0;
  for (int array = 0; array < 2; ++array)
    for (const std::size_t size : c.shape->sizes) {
      const std::size_t bytes = bytes_of(c.format, size);
      offsets.push_back(round_up(end, bytes < kPage ? kCacheLine : kPage) + c.placement.offset);
      end = offsets.back() + bytes;
    }
  offsets.push_back(end);
  return offsets;
}

// Random numbers in [0.5, 1). Positive, since the roofline adds gradients to what may be a mean
// square, of which a root is taken.
template <class T>
void fill(void* array, std::size_t size, std::uint64_t seed) {
  T* const values = static_cast<T*>(array);
  std::uint64_t x = seed * 2654435761u + 1;
  for (std::size_t i = 0; i < size; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    values[i] = T(0.5) + T(x >> 40) / T(1 << 25);
  }
}

template <class T>
bool sample_is_normal(const Extent& array) {
  const T* const values = static_cast<const T*>(array.address);
  const std::size_t size = array.bytes / sizeof(T);
  for (std::size_t i = 0; i < size; i += size / kSample + 1)
    if (!std::isnormal(values[i])) return false;
  return true;
}

// Keyed by the names that rules share, so that a new rule needs no entry. The learning rate is so
// small that parameters stay normal after any number of steps.
double scalar(const std::string& name) {
  if (name == "lr" || name == "lr_decay") return 1e-12;
  if (name == "eps") return 1e-8;
  if (name == "weight_decay") return 1e-2;
  return 0.9;
}

}  // namespace

Contestant::Contestant(const RuleInfo& rule, unsigned variant, const std::vector<Array>& gradients)
    : stepper_(rule), gradients_(gradients) {
  Group group;
  group.variant = variant;
  const ScalarNames& names = stepper_.rule().scalars;
  for (std::size_t i = 0; i < names.size(); ++i) group.scalars[i] = scalar(names.name[i]);
  stepper_.groups().push_back(group);
}

void Contestant::add(const Array& param, std::size_t size, std::byte* const* buffers) {
  Tensor tensor{"", {}, size};
  tensor.view.param = param;
  const unsigned variant = stepper_.groups()[0].variant;
  for (const std::size_t k : used_states(stepper_.rule().states[variant]))
    tensor.view.state[k] = {*buffers++, nullptr, param.format};
  stepper_.add(std::move(tensor));
}

double Contestant::seconds(std::size_t steps) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  for (std::size_t i = 0; i < steps; ++i) {
    GradientSets gradients{gradients_.data()};
    gradients.mixed = false;
    stepper_.prepare(gradients);
    stepper_.run();
  }
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The roofline's variant is its number of states.
Workload::Workload(const Case& c)
    : format_(c.format),
      arrays_(lay_out(c).back()),
      rule_(*c.rule, c.variant, gradients_),
      roofline_(rule_called("roofline"), static_cast<unsigned>(c.state_count()), gradients_) {
  const std::vector<std::size_t>& sizes = c.shape->sizes;
  const std::vector<std::size_t> offsets = lay_out(c);
  for (std::size_t i = 0; i < 2 * sizes.size(); ++i) {
    // Written before timing: untouched memory is backed by a single page of zeros.
    std::byte* const array = arrays_.data() + offsets[i];
    const std::size_t size = sizes[i % sizes.size()];
    (compute_of(format_) == Compute::float32 ? fill<float> : fill<double>)(array, size, i);
    if (i < sizes.size())
      params_.push_back({array, bytes_of(format_, size)});
    else
      gradients_.push_back({array, nullptr, format_});
  }

  const std::size_t states = c.state_count();
  std::vector<BufferRequest> requests;
  for (const Extent& param : params_)
    requests.push_back(
        {param.address, bytes_of(format_, 1),
         std::vector(states, BufferRequest::Buffer{param.bytes, bytes_of(format_, 1)})});
  state_ = allocate_in_phase(requests);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const Array param{arrays_.data() + offsets[i], nullptr, format_};
    for (Contestant* contestant : {&rule_, &roofline_})
      contestant->add(param, sizes[i], state_.address.data() + i * states);
  }
  set_thread_limit(c.threads);
  // The first step touches the state and starts the threads.
  for (Contestant* contestant : {&rule_, &roofline_}) contestant->seconds(2);
}

bool Workload::is_normal() const {
  const auto is_normal =
      compute_of(format_) == Compute::float32 ? sample_is_normal<float> : sample_is_normal<double>;
  for (const Extent& param : params_)
    if (!is_normal(param)) return false;
  const std::size_t states = state_.address.size() / params_.size();
  for (std::size_t i = 0; i < state_.address.size(); ++i)
    if (!is_normal({state_.address[i], params_[i / states].bytes})) return false;
  return true;
}

}  // namespace fusedstep::bench
