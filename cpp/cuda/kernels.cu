// Every sweep as a kernel. Also compiles as plain C++, where launches become loops.
#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "launch.hpp"
#include "rules/rules.hpp"
#include "sweeps.hpp"

namespace fusedstep::cuda {
namespace {

#if defined(__CUDACC__)

template <class Body>
__global__ void __launch_bounds__(kThreads) kernel(const Sweep sweep) {
  __shared__ Work work;
  Body::run(Block{blockIdx.x, gridDim.x}, sweep, work);
}

template <class Body>
void launch(const Sweep& sweep, unsigned blocks, Stream stream) {
  kernel<Body><<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(sweep);
}

__global__ void __launch_bounds__(kThreads) clear_kernel(const Clear clear) {
  run_clear(Block{blockIdx.x, gridDim.x}, clear);
}

void run(const Clear& clear, unsigned blocks, Stream stream) {
  clear_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(clear);
}

#else

template <class Body>
void launch(const Sweep& sweep, unsigned blocks, Stream) {
  Work work;
  for (unsigned index = 0; index < blocks; ++index) Body::run(Block{index, blocks}, sweep, work);
}

void run(const Clear& clear, unsigned blocks, Stream) {
  for (unsigned index = 0; index < blocks; ++index) run_clear(Block{index, blocks}, clear);
}

#endif

template <class Tag, bool Narrow>
RuleLaunches launches() {
  RuleLaunches result{launch<Update<Tag, Narrow>>, nullptr};
  if constexpr (is_layerwise<typename Tag::template rule<float, 0>>)
    result.probe = launch<Probe<Tag, Narrow>>;
  return result;
}

}  // namespace

const RuleKinds& launches_of(const RuleInfo& rule) {
  static const auto all = [] {
    std::array<RuleKinds, rule_count(AllRules{})> list;
    for_each_rule(AllRules{}, [&](std::size_t i, auto tag) {
      using Tag = decltype(tag);
      list[i] = {launches<Tag, false>(), launches<Tag, true>()};
    });
    return list;
  }();
  for (std::size_t i = 0; i < all.size(); ++i)
    if (&registry()[i] == &rule) return all[i];
  throw std::invalid_argument(std::string(rule.name) + ": no kernel for CUDA devices");
}

void launch_measure(const Sweep& sweep, unsigned blocks, Stream stream) {
  if (sweep.formats == nullptr)
    launch<Measure<false>>(sweep, blocks, stream);
  else
    launch<Measure<true>>(sweep, blocks, stream);
}

void launch_clear(const Clear& clear, Stream stream) {
  constexpr std::uint64_t kMostBlocks = 1024;  // of 8 threads per processor and more
  const std::uint64_t words = clear.bytes / sizeof(std::uint32_t) + 1;
  const std::uint64_t blocks = (words + kThreads - 1) / kThreads;
  run(clear, static_cast<unsigned>(std::min(blocks, kMostBlocks)), stream);
}

}  // namespace fusedstep::cuda
