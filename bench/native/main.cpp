// Benchmarks the wheel's kernels without Python. README.md says how to run it and how to read the
// results.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cases.hpp"
#include "engine/dispatch.hpp"
#include "threads/parallel.hpp"
#include "workload.hpp"

namespace fusedstep::bench {
namespace {

// Minimum length of a timed stretch of steps, which makes the clock's cost negligible.
constexpr double kStretchSeconds = 50e-6;

std::size_t physical_memory() {
  return std::size_t(sysconf(_SC_PHYS_PAGES)) * std::size_t(sysconf(_SC_PAGE_SIZE));
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::size_t steps_per_stretch(Contestant& contestant) {
  std::size_t steps = 1;
  const auto is_short = [&] { return contestant.seconds(steps) < kStretchSeconds; };
  while (is_short() || is_short()) steps *= 2;  // twice: one may have been interrupted
  return steps;
}

// Stretches of the rule and the roofline alternate: the ratio within a pair is least affected by
// noise on the machine. Google Benchmark gets only the rule's time.
void measure(benchmark::State& state, const Case& c) {
  if (c.bytes_held() > physical_memory() / 2) {
    state.SkipWithError("left out: the arrays take more than half of the memory");
    return;
  }
  use_isa(c.isa);
  Workload work(c);
  const std::size_t steps = steps_per_stretch(work.rule());
  std::vector<double> rule, roofline, ratio;
  while (state.KeepRunningBatch(benchmark::IterationCount(steps))) {
    rule.push_back(work.rule().seconds(steps));
    roofline.push_back(work.roofline().seconds(steps));
    ratio.push_back(roofline.back() / rule.back());
    state.SetIterationTime(rule.back());
  }
  if (!work.is_normal()) state.SkipWithError("values became zero, subnormal, infinite or NaN");

  const double ns_per_param = 1e9 / double(steps * c.shape->total());
  state.SetBytesProcessed(state.iterations() * std::int64_t(c.bytes_per_step()));
  state.counters["ns_per_param"] = median(rule) * ns_per_param;
  state.counters["roofline_ns_per_param"] = median(roofline) * ns_per_param;
  state.counters["of_roofline"] = median(ratio);
  state.counters["rounds"] = double(ratio.size());
  state.counters["threads_used"] = work.rule().threads();
}

void add_context() {
  std::string isas;
  for (const KernelTable* table : available_tables()) isas += std::string(" ") + table->isa;
  benchmark::AddCustomContext("isas", isas.substr(1));
  benchmark::AddCustomContext("thread_limit", std::to_string(thread_limit()));
  benchmark::AddCustomContext("compiler", __VERSION__);
}

}  // namespace
}  // namespace fusedstep::bench

int main(int argc, char** argv) {
  using namespace fusedstep::bench;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  add_context();
  // Aligned cases exist only if the filter names them: they would double a run without a filter.
  const bool aligned = benchmark::GetBenchmarkFilter().find(kAligned.prefix) != std::string::npos;
  for (const Case& c : all_cases(aligned ? kAligned : kNumPy))
    benchmark::RegisterBenchmark(c.name().c_str(), measure, c)->UseManualTime();
  const bool any = benchmark::RunSpecifiedBenchmarks() > 0;
  benchmark::Shutdown();
  return any ? 0 : 1;  // a filter that matches nothing fails
}
